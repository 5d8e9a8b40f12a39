//! What the fuzz targets `routes` and `fields` run: the router against one that looks at every route, and the header
//! fields of responses.

use crate::headers;
use crate::router::{Found, Router, decode};
use assay_capability_api::types::ErrorCode;
use std::cmp::Ordering;

/// Routes and paths that the reference takes on; the search of [`Router`] has a bound on its steps, which fewer do not
/// reach.
const MOST_ROUTES: usize = 12;
const MOST_SEGMENTS: usize = 8;

/// Checks one input: a line for each route, as `METHOD PATH`, an empty line, and a line for each request.
///
/// # Panics
/// When something does not hold.
pub fn routes(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (routes, requests) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut router = Router::default();
    let mut known: Vec<Reference<'_>> = Vec::new();
    for (index, (method, path)) in
        routes.lines().take(MOST_ROUTES).filter_map(|it| it.split_once(' ')).enumerate()
    {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let read = Reference::read(method, path, index);
        let twice =
            |read: &Reference<'_>| known.iter().any(|other| other.method == method && other.same(read));
        match (router.add(method, path, index), read) {
            (Ok(()), Some(read)) => {
                assert!(!twice(&read), "{method} {path} was taken twice");
                known.push(read);
            }
            (Err(why), Some(read)) => assert!(twice(&read), "{method} {path} is refused: {why}"),
            (Err(why), None) => assert!(!why.is_empty()),
            (Ok(()), None) => panic!("{method} {path} is a route"),
        }
    }
    // From the most specific one on; those with the same segments as they came.
    known.sort_by(|one, other| one.before(other));
    for (method, path) in requests.lines().filter_map(|it| it.split_once(' ')) {
        let found = router.find(method, path);
        if path.split('/').count() <= MOST_SEGMENTS {
            assert_eq!(found, expected(&known, method, path), "{method} {path} among {routes:?}");
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Segment<'a> {
    Literal(String),
    Parameter(&'a str),
    Rest,
}

impl Segment<'_> {
    fn rank(&self) -> u8 {
        match self {
            Segment::Literal(_) => 0,
            Segment::Parameter(_) => 1,
            Segment::Rest => 2,
        }
    }
}

/// A route, as its documentation says.
struct Reference<'a> {
    method: &'a str,
    segments: Vec<Segment<'a>>,
    index: u32,
}

impl<'a> Reference<'a> {
    fn read(method: &'a str, path: &'a str, index: u32) -> Option<Reference<'a>> {
        let mut segments = Vec::new();
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        for (n, part) in parts.iter().enumerate() {
            let name = part.strip_prefix(':').or_else(|| part.strip_prefix('{')?.strip_suffix('}'));
            let name = name.filter(|name| {
                !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
            });
            segments.push(match name {
                Some(name) if segments.contains(&Segment::Parameter(name)) => return None,
                Some(name) => Segment::Parameter(name),
                None if *part == "*" && n + 1 == parts.len() => Segment::Rest,
                None if part.contains(['*', '{', '}']) => return None,
                None => Segment::Literal(decode(part).into_owned()),
            });
        }
        (segments.len() <= 32).then_some(Reference { method, segments, index })
    }

    /// Whether it matches what the other one does; what parameters are called makes no difference.
    fn same(&self, other: &Reference<'_>) -> bool {
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|pair| match pair {
                (Segment::Literal(one), Segment::Literal(other)) => one == other,
                (one, other) => one.rank() == other.rank(),
            })
    }

    /// The first segment that differs decides.
    fn before(&self, other: &Reference<'_>) -> Ordering {
        let ranks = |it: &Reference<'_>| it.segments.iter().map(Segment::rank).collect::<Vec<_>>();
        ranks(self).cmp(&ranks(other))
    }

    /// The values of the parameters, where it matches.
    fn values<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let mut rest = Some(path.strip_prefix('/')?);
        let mut values = Vec::new();
        for segment in &self.segments {
            let left = rest?;
            let (part, after) =
                left.split_once('/').map_or((left, None), |(part, after)| (part, Some(after)));
            match segment {
                Segment::Rest => {
                    values.push(left);
                    return Some(values);
                }
                Segment::Parameter(_) if part.is_empty() => return None,
                Segment::Parameter(_) => values.push(part),
                Segment::Literal(own) if decode(part) != own.as_str() => return None,
                Segment::Literal(_) => {}
            }
            rest = after;
        }
        rest.is_none().then_some(values)
    }
}

/// The first of the routes that match decides; among those with its segments its own method goes before GET for HEAD, and
/// that before any method.
fn expected<'a>(known: &'a [Reference<'a>], method: &str, path: &'a str) -> Found<'a> {
    let matching: Vec<_> = known.iter().filter(|route| route.values(path).is_some()).collect();
    let preferences = if method == "HEAD" { vec!["HEAD", "GET", "*"] } else { vec![method, "*"] };
    for first in &matching {
        let alike: Vec<_> = matching.iter().filter(|other| other.same(first)).collect();
        let chosen = preferences.iter().find_map(|wanted| alike.iter().find(|route| route.method == *wanted));
        if let Some(route) = chosen {
            let names = route.segments.iter().filter_map(|segment| match segment {
                Segment::Literal(_) => None,
                Segment::Parameter(name) => Some(*name),
                Segment::Rest => Some("*"),
            });
            return Found::Route(route.index, names.zip(route.values(path).unwrap_or_default()).collect());
        }
    }
    let mut methods: Vec<&str> = matching.iter().map(|route| route.method).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.sort_unstable();
    methods.dedup();
    if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods) }
}

/// Checks header fields as the guest writes them: they are refused, or stand in the response as they were given, without
/// the bytes that would end a field or a response.
///
/// # Panics
/// When something does not hold.
pub fn fields(data: &[u8]) {
    let parsed = match headers::parse(data) {
        Ok(parsed) => parsed,
        Err(failure) => return assert_eq!(failure.code, ErrorCode::InvalidArgument),
    };
    let mut given: Vec<(Vec<u8>, &[u8])> = Vec::new();
    let mut parts = data.split(|byte| *byte == 0);
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        let name = name.to_ascii_lowercase();
        if name != b"content-length" && name != b"transfer-encoding" {
            given.push((name, value));
        }
    }
    let mut got: Vec<(Vec<u8>, &[u8])> =
        parsed.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes())).collect();
    // Stable: the order of fields with the same name has a meaning.
    given.sort_by(|one, other| one.0.cmp(&other.0));
    got.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(got, given);
    for (name, value) in got {
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{value:?}");
        assert!(!name.is_empty() && !name.iter().any(|byte| *byte <= b' ' || *byte == b':'), "{name:?}");
    }
}

#[cfg(test)]
#[path = "../../../fuzz/properties/seeds.rs"]
mod seeds;

#[test]
fn routes_are_found_as_a_plain_search_finds_them() {
    seeds::run("routes", 10_000, routes);
}

#[test]
fn fields_stay_fields() {
    seeds::run("fields", 10_000, fields);
}
