//! A bounded cache that drops the least recently used value first.

use std::collections::HashMap;

/// Prepared statements that a connection keeps.
const MAX_STATEMENTS: usize = 64;
/// Bytes of a statement that is kept. Longer ones are mostly made for one use, and the copy that SQLite has of them is
/// memory of the host.
const MAX_SQL: usize = 16 << 10;

/// Statements by their text. One in use is not in it, so that the same text may be run within its own rows.
pub struct Cache<T> {
    kept: HashMap<String, Kept<T>>,
    /// Counts uses.
    now: u64,
}

struct Kept<T> {
    value: T,
    used: u64,
}

impl<T> Cache<T> {
    pub fn new() -> Cache<T> {
        Cache { kept: HashMap::new(), now: 0 }
    }

    pub fn take(&mut self, sql: &str) -> Option<T> {
        self.kept.remove(sql).map(|kept| kept.value)
    }

    pub fn put(&mut self, sql: &str, value: T) {
        if sql.len() > MAX_SQL {
            return;
        }
        if self.kept.len() >= MAX_STATEMENTS && !self.kept.contains_key(sql) {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(sql, _)| sql.clone());
            if let Some(oldest) = oldest {
                self.kept.remove(&oldest);
            }
        }
        self.now += 1;
        self.kept.insert(sql.to_owned(), Kept { value, used: self.now });
    }

    pub fn clear(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let mut cache = Cache::new();
        for n in 0..MAX_STATEMENTS {
            cache.put(&n.to_string(), n);
        }
        let first = cache.take("0");
        assert_eq!(first, Some(0));
        assert_eq!(cache.take("0"), None);
        cache.put("0", 0);
        for n in 100..110 {
            cache.put(&n.to_string(), n);
        }
        assert_eq!(cache.kept.len(), MAX_STATEMENTS);
        assert_eq!(cache.take("0"), Some(0));
        assert_eq!((cache.take("1"), cache.take("10"), cache.take("11")), (None, None, Some(11)));
    }

    #[test]
    fn long_statements_are_not_kept() {
        let mut cache = Cache::new();
        cache.put(&"x".repeat(MAX_SQL), 1);
        cache.put(&"x".repeat(MAX_SQL + 1), 2);
        assert_eq!(cache.take(&"x".repeat(MAX_SQL)), Some(1));
        assert_eq!(cache.take(&"x".repeat(MAX_SQL + 1)), None);
    }

    #[test]
    fn one_text_is_kept_once() {
        let mut cache = Cache::new();
        cache.put("x", 1);
        cache.put("x", 2);
        assert_eq!((cache.take("x"), cache.take("x")), (Some(2), None));
    }
}
