//! Routes: the most specific one that a method and a path lead to.
//!
//! Segments are compared decoded, so `/caf%C3%A9` is `/café` and an encoded slash stays inside its
//! segment. At each segment a literal goes before a parameter and that before a wildcard.

use std::borrow::Cow;
use std::collections::HashMap;

/// Parameters of a path.
const MAX_PARAMS: usize = 32;
/// Segments of a path that are looked at; a longer one is not found.
const MAX_SEGMENTS: usize = 256;

/// The routes of a server.
#[derive(Default)]
pub struct Router {
    root: Node,
    /// Methods and paths in the order of their indices.
    routes: Vec<(String, String)>,
    /// Routes without parameters, for methods by themselves: nearly every request ends here.
    literal: HashMap<String, Vec<(String, u32)>>,
}

#[derive(Default)]
struct Node {
    children: HashMap<String, Node>,
    parameter: Option<Box<Node>>,
    here: Routes,
    below: Routes,
}

#[derive(Default)]
struct Routes(Vec<Route>);

struct Route {
    method: String,
    index: u32,
    names: Vec<String>,
}

/// What a request leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A route, and its parameters by name as they stand in the path.
    Route(u32, Vec<(&'a str, &'a str)>),
    /// The path is known, for these methods.
    OtherMethods(Vec<&'a str>),
    Nothing,
}

/// Undoes percent-encoding; what is no encoding stays.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |n: usize| bytes.get(at + n).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    match String::from_utf8(out) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(text),
    }
}

/// The name of a parameter segment: `{name}` or `:name`.
fn parameter(segment: &str) -> Option<&str> {
    let name = match segment.strip_prefix(':') {
        Some(name) => name,
        None => segment.strip_prefix('{')?.strip_suffix('}')?,
    };
    let plain = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

impl Router {
    /// # Errors
    /// A sentence on what is wrong with the route.
    pub fn add(&mut self, method: &str, path: &str, index: u32) -> Result<(), String> {
        let Some(rest) = path.strip_prefix('/') else {
            return Err(format!("the route '{path}' does not begin with /"));
        };
        if rest.split('/').count() > MAX_SEGMENTS {
            return Err(format!("the route '{path}' has more than {MAX_SEGMENTS} segments"));
        }
        let (rest, wildcard) = match rest.strip_suffix('*') {
            Some("") => (None, true),
            Some(before) if before.ends_with('/') => (Some(&before[..before.len() - 1]), true),
            Some(_) => return Err(format!("the route '{path}' has a * that is not a whole segment")),
            None => (Some(rest), false),
        };
        let mut names = Vec::new();
        let mut node = &mut self.root;
        for segment in rest.into_iter().flat_map(|rest| rest.split('/')) {
            node = match parameter(segment) {
                Some(name) => {
                    if names.iter().any(|other| other == name) || names.len() == MAX_PARAMS {
                        return Err(format!(
                            "the route '{path}' has {{{name}}} twice, or too many parameters"
                        ));
                    }
                    names.push(name.to_string());
                    node.parameter.get_or_insert_default()
                }
                None if segment.contains(['{', '}', '*']) => {
                    return Err(format!("the route '{path}': '{segment}' is neither a name nor {{name}}"));
                }
                None => node.children.entry(decode(segment).into_owned()).or_default(),
            };
        }
        let routes = if wildcard { &mut node.below } else { &mut node.here };
        if routes.0.iter().any(|route| route.method == method) {
            return Err(format!("there are two routes {method} {path}"));
        }
        if names.is_empty() && !wildcard && !path.contains('%') {
            self.literal.entry(path.to_string()).or_default().push((method.to_string(), index));
        }
        routes.0.push(Route { method: method.to_string(), index, names });
        self.routes.push((method.to_string(), path.to_string()));
        Ok(())
    }

    /// Whether its routes are these methods and paths, in this order.
    pub fn has_routes<'a>(&'a self, routes: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
        self.routes.iter().map(|(method, path)| (method.as_str(), path.as_str())).eq(routes)
    }

    /// `path` is as it came, still encoded.
    pub fn find<'a>(&'a self, method: &str, path: &'a str) -> Found<'a> {
        if let Some(routes) = self.literal.get(path)
            && let Some((_, index)) = routes.iter().find(|(own, _)| own == method)
        {
            return Found::Route(*index, Vec::new());
        }
        let Some(rest) = path.strip_prefix('/') else { return Found::Nothing };
        if rest.split('/').nth(MAX_SEGMENTS).is_some() {
            return Found::Nothing;
        }
        let mut search = Search { method, values: Vec::new(), allowed: Vec::new(), steps: 0 };
        if let Some(route) = search.walk(&self.root, Some(rest)) {
            let names = route.names.iter().map(String::as_str).chain(std::iter::once("*"));
            return Found::Route(route.index, names.zip(search.values).collect());
        }
        match search.allowed.is_empty() {
            true => Found::Nothing,
            false => {
                if search.allowed.contains(&"GET") && !search.allowed.contains(&"HEAD") {
                    search.allowed.push("HEAD");
                }
                search.allowed.sort_unstable();
                Found::OtherMethods(search.allowed)
            }
        }
    }
}

/// Branches that a search follows at most; routes with parameters in many places and a long path must not
/// make it exponential.
const MAX_STEPS: usize = 4096;

struct Search<'a, 'm> {
    method: &'m str,
    values: Vec<&'a str>,
    allowed: Vec<&'a str>,
    steps: usize,
}

impl<'a> Search<'a, '_> {
    /// `rest` is what follows the slash, none at the end.
    fn walk(&mut self, node: &'a Node, rest: Option<&'a str>) -> Option<&'a Route> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return None;
        }
        let Some(path) = rest else { return self.choose(&node.here) };
        let (segment, rest) = match path.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (path, None),
        };
        if !node.children.is_empty()
            && let Some(child) = node.children.get(decode(segment).as_ref())
            && let Some(route) = self.walk(child, rest)
        {
            return Some(route);
        }
        if let Some(child) = &node.parameter
            && !segment.is_empty()
        {
            self.values.push(segment);
            if let Some(route) = self.walk(child, rest) {
                return Some(route);
            }
            self.values.pop();
        }
        let route = self.choose(&node.below)?;
        self.values.push(path);
        Some(route)
    }

    fn choose(&mut self, routes: &'a Routes) -> Option<&'a Route> {
        let of = |method: &str| routes.0.iter().find(|route| route.method == method);
        let found = of(self.method).or_else(|| if self.method == "HEAD" { of("GET") } else { None });
        let found = found.or_else(|| of("*"));
        if found.is_none() {
            for route in &routes.0 {
                if !self.allowed.contains(&route.method.as_str()) {
                    self.allowed.push(&route.method);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[(&str, &str)]) -> Router {
        let mut router = Router::default();
        for (index, (method, path)) in routes.iter().enumerate() {
            router.add(method, path, index as u32).unwrap();
        }
        router
    }

    #[test]
    fn the_most_specific_route_wins() {
        let router = router(&[
            ("GET", "/*"),
            ("GET", "/api/*"),
            ("GET", "/api/users"),
            ("GET", "/api/{kind}"),
            ("GET", "/api/{kind}/:id"),
            ("GET", "/api/users/*"),
            ("GET", "/"),
            ("POST", "/api/{kind}/{id}/x"),
            ("GET", "/café"),
        ]);
        for (path, route, params) in [
            ("/", 6, vec![]),
            ("/x", 0, vec![("*", "x")]),
            ("/x/y", 0, vec![("*", "x/y")]),
            ("/api", 0, vec![("*", "api")]),
            ("/api/", 1, vec![("*", "")]),
            ("/api/users", 2, vec![]),
            ("/api/pods", 3, vec![("kind", "pods")]),
            ("/api/users/7", 5, vec![("*", "7")]),
            ("/api/pods/7", 4, vec![("kind", "pods"), ("id", "7")]),
            ("/api/pods/7/y", 1, vec![("*", "pods/7/y")]),
            ("/api/pods/7/x", 1, vec![("*", "pods/7/x")]),
            ("/api/a%2Fb", 3, vec![("kind", "a%2Fb")]),
            ("/api/%75sers", 2, vec![]),
            ("/caf%C3%A9", 8, vec![]),
            ("//", 0, vec![("*", "/")]),
        ] {
            assert_eq!(router.find("GET", path), Found::Route(route, params), "{path}");
        }
        assert_eq!(router.find("HEAD", "/api/users"), Found::Route(2, vec![]));
    }

    #[test]
    fn other_methods_are_told() {
        let router = router(&[("GET", "/a"), ("POST", "/a"), ("*", "/any"), ("PUT", "/p/{x}")]);
        assert_eq!(router.find("PUT", "/a"), Found::OtherMethods(vec!["GET", "HEAD", "POST"]));
        assert_eq!(router.find("GET", "/p/1"), Found::OtherMethods(vec!["PUT"]));
        assert_eq!(router.find("BREW", "/any"), Found::Route(2, vec![]));
        assert_eq!(router.find("GET", "/b"), Found::Nothing);
        assert_eq!(router.find("OPTIONS", "*"), Found::Nothing);
        assert_eq!(router.find("GET", "/p/"), Found::Nothing);
    }

    #[test]
    fn routes_that_make_no_sense_are_refused() {
        let mut router = Router::default();
        for path in ["", "a", "/a*", "/*/a", "/{a}/{a}", "/{}", "/x{a}", "/{a b}", "*"] {
            assert!(router.add("GET", path, 0).is_err(), "{path}");
        }
        router.add("GET", "/a", 0).unwrap();
        assert!(router.add("GET", "/a", 1).is_err());
    }

    #[test]
    fn a_long_path_does_not_take_long() {
        let mut router = Router::default();
        for depth in 1..20 {
            let path: String =
                (0..depth).map(|n| if n % 2 == 0 { format!("/{{p{n}}}") } else { "/a".into() }).collect();
            router.add("GET", &format!("{path}/end"), depth).unwrap();
        }
        assert_eq!(router.find("GET", &"/a".repeat(250)), Found::Nothing);
        assert_eq!(router.find("GET", &"/a".repeat(10_000)), Found::Nothing);
    }

    #[test]
    fn decoding_leaves_what_is_no_encoding() {
        assert_eq!(decode("a%20b%2fc"), "a b/c");
        assert_eq!(decode("%"), "%");
        assert_eq!(decode("%zz%4"), "%zz%4");
        assert_eq!(decode("%ff"), "%ff");
    }
}
