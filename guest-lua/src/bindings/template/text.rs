//! Texts as the filters of Jinja2 make them: lines of a width, links, escaped text.

/// Text with what is special in HTML escaped, as the engine writes it.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#x27;"),
            c => out.push(c),
        }
    }
    out
}

/// How lines are wrapped.
pub struct Wrapping {
    pub width: usize,
    /// Whether a word that is longer than a line is broken.
    pub break_words: bool,
    /// Whether a word may be broken behind a hyphen.
    pub break_hyphens: bool,
}

impl Wrapping {
    /// Adds the lines that one line becomes to `out`, with `between` between them: as many words in each as there is
    /// room for. Blanks where a line is broken are left out, those at the start of the first stay.
    pub fn wrap(&self, text: &str, between: &str, out: &mut String) {
        // Where the line begins, how many characters it has, and whether there is one before it.
        let (mut begin, mut used, mut broken) = (out.len(), 0, false);
        let trim = |out: &mut String, begin: usize| {
            out.truncate(begin + out[begin..].trim_end().len());
            out.len() > begin
        };
        for mut chunk in (Chunks { text, hyphens: self.break_hyphens }) {
            let mut size = chunk.chars().count();
            let blank = chunk.trim().is_empty();
            loop {
                if blank && used == 0 && broken {
                    break;
                }
                let is_long = size > self.width && self.break_words && !blank;
                if used + size <= self.width || (used == 0 && !is_long) {
                    out.push_str(chunk);
                    used += size;
                    break;
                }
                if is_long && used < self.width {
                    let cut = self.cut(chunk, self.width - used);
                    out.push_str(&chunk[..cut]);
                    size -= chunk[..cut].chars().count();
                    chunk = &chunk[cut..];
                }
                if trim(out, begin) {
                    out.push_str(between);
                    broken = true;
                }
                (begin, used) = (out.len(), 0);
            }
        }
        if !trim(out, begin) && broken {
            out.truncate(begin - between.len());
        }
    }

    /// Where a word is broken of which `room` characters have place.
    fn cut(&self, word: &str, room: usize) -> usize {
        let end = word.char_indices().nth(room).map_or(word.len(), |(at, _)| at);
        match word[..end].rfind('-') {
            Some(hyphen) if self.break_hyphens && word[..hyphen].contains(|c| c != '-') => hyphen + 1,
            _ => end,
        }
    }
}

/// Words, the blanks between them, and the parts of words between hyphens.
struct Chunks<'a> {
    text: &'a str,
    hyphens: bool,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let first = self.text.chars().next()?;
        let letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
        let (mut end, mut before) = (self.text.len(), [None, None]);
        for (at, c) in self.text.char_indices() {
            if c.is_whitespace() != first.is_whitespace() {
                end = at;
                break;
            }
            // As Python has it: between two letters on both sides.
            if self.hyphens && c == '-' && letter(before[1]) && letter(before[0]) {
                let mut after = self.text[at + 1..].chars();
                if letter(after.next()) && letter(after.find(|c| *c != '-')) {
                    end = at + 1;
                    break;
                }
            }
            before = [before[1], Some(c)];
        }
        let (chunk, rest) = self.text.split_at(end);
        self.text = rest;
        Some(chunk)
    }
}

/// Escaped text with links for what reads as addresses. `limit` is how many characters of one are shown.
pub fn linked(text: &str, limit: Option<usize>, attributes: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(char::is_whitespace) {
        crate::work::spend(64 + 16 * piece.len());
        let word = piece.trim_end_matches(char::is_whitespace);
        let (head, address, tail) = without_punctuation(word);
        let shown = || match limit.and_then(|limit| address.char_indices().nth(limit)) {
            Some((cut, _)) => format!("{}...", &address[..cut]),
            None => address.to_owned(),
        };
        out.push_str(head);
        match target(address) {
            Some(href) => out.push_str(&format!("<a href=\"{href}\"{attributes}>{}</a>", shown())),
            None => match mail(address) {
                Some(mail) => out.push_str(&format!("<a href=\"mailto:{mail}\">{mail}</a>")),
                None => out.push_str(address),
            },
        }
        out.push_str(tail);
        out.push_str(&piece[word.len()..]);
    }
    out
}

/// A word between the punctuation that is not part of an address. Brackets that it opens itself stay.
fn without_punctuation(word: &str) -> (&str, &str, &str) {
    let mut start = 0;
    while let Some(mark) = ["(", "&lt;"].iter().find(|mark| word[start..].starts_with(**mark)) {
        start += mark.len();
    }
    let (head, rest) = word.split_at(start);
    let mut end = rest.len();
    while let Some(mark) =
        [")", "&gt;", ".", ",", "!", "?", ":"].iter().find(|mark| rest[..end].ends_with(**mark))
    {
        let opened = match *mark {
            ")" => Some("("),
            "&gt;" => Some("&lt;"),
            _ => None,
        };
        let count = |part: &str| rest[..end].matches(part).count();
        if opened.is_some_and(|opened| count(opened) >= count(mark)) {
            break;
        }
        end -= mark.len();
    }
    (head, &rest[..end], &rest[end..])
}

/// Where an address of the web leads.
fn target(address: &str) -> Option<String> {
    let scheme = ["https://", "http://"]
        .iter()
        .find(|scheme| address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let rest = &address[scheme.map_or(0, |scheme| scheme.len())..];
    let place = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host = match place.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty() && port.len() < 6 && port.bytes().all(|b| b.is_ascii_digit()) =>
        {
            host
        }
        _ => place,
    };
    let labels: Vec<&str> = host.split('.').collect();
    let is_label = |label: &&str| {
        !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '%'))
    };
    let last = labels.last().copied().unwrap_or_default();
    let is_name =
        last.len() >= 2 && last.bytes().all(|b| b.is_ascii_alphabetic()) || last.starts_with("xn--");
    let is_host = labels.iter().all(is_label) && is_name
        || host.parse::<std::net::Ipv4Addr>().is_ok()
        || host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    if !is_host {
        return None;
    }
    if scheme.is_some() {
        return Some(address.to_owned());
    }
    let common = ["com", "net", "int", "edu", "gov", "org", "info", "mil"];
    let is_long = |label: &&str| label.chars().nth(1).is_some();
    let is_web = labels.len() >= 2
        && (labels[0].eq_ignore_ascii_case("www") || (common.contains(&last) && labels.iter().all(is_long)));
    is_web.then(|| format!("https://{address}"))
}

/// The address of mail that a word is, with or without `mailto:`.
fn mail(word: &str) -> Option<&str> {
    let address = word.strip_prefix("mailto:").unwrap_or(word);
    let (name, host) = address.split_once('@')?;
    let (domain, last) = host.rsplit_once('.')?;
    let is_name = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    let good = !name.is_empty()
        && !name.contains([':', '@', '&'])
        && is_name(domain)
        && !domain.starts_with(['.', '-'])
        && !last.is_empty()
        && last.chars().all(|c| c.is_alphanumeric() || c == '_');
    good.then_some(address)
}
