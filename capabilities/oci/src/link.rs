//! The header field `Link` (RFC 8288 section 3), in which a registry tells where a list goes on.

use http::HeaderValue;

/// The address of the link with the relation `next`, if there is one.
///
/// # Errors
/// What is wrong with the fields: then it is not known whether there is one.
pub fn next<'a>(fields: impl IntoIterator<Item = &'a HeaderValue>) -> Result<Option<String>, &'static str> {
    let mut found: Option<String> = None;
    for field in fields {
        let text = std::str::from_utf8(field.as_bytes()).map_err(|_| "it is not UTF-8")?;
        let mut rest = text.trim_start_matches(is_between);
        while !rest.is_empty() {
            let (link, after) = link(rest)?;
            if link.is_next {
                if found.as_ref().is_some_and(|found| found != link.target) {
                    return Err("it names two next pages");
                }
                found = Some(link.target.to_owned());
            }
            rest = after.trim_start_matches(is_between);
        }
    }
    Ok(found)
}

struct Link<'a> {
    target: &'a str,
    is_next: bool,
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// What may stand before a link: elements of a list may be empty.
fn is_between(c: char) -> bool {
    is_blank(c) || c == ','
}

/// Reads one link; gives what follows it.
fn link(text: &str) -> Result<(Link<'_>, &str), &'static str> {
    let text = text.strip_prefix('<').ok_or("a link does not begin with '<'")?;
    let (target, mut rest) = text.split_once('>').ok_or("a '<' is not closed")?;
    // Of several only the first counts.
    let mut relation: Option<String> = None;
    loop {
        rest = rest.trim_start_matches(is_blank);
        let Some(parameter) = rest.strip_prefix(';') else { break };
        let parameter = parameter.trim_start_matches(is_blank);
        let end = parameter.find(|c| is_blank(c) || matches!(c, '=' | ';' | ',')).unwrap_or(parameter.len());
        let (name, after) = parameter.split_at(end);
        let after = after.trim_start_matches(is_blank);
        let value;
        (value, rest) = match after.strip_prefix('=') {
            None => (String::new(), after),
            Some(after) => self::value(after.trim_start_matches(is_blank))?,
        };
        if name.eq_ignore_ascii_case("rel") && relation.is_none() {
            relation = Some(value);
        }
    }
    if !rest.is_empty() && !rest.starts_with(',') {
        return Err("something stands between two links");
    }
    let is_next = relation
        .is_some_and(|relation| relation.split(is_blank).any(|word| word.eq_ignore_ascii_case("next")));
    Ok((Link { target: target.trim_matches(is_blank), is_next }, rest))
}

/// Reads the value of a parameter, a token or a string in quotes; gives what follows it.
fn value(text: &str) -> Result<(String, &str), &'static str> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c| is_blank(c) || matches!(c, ';' | ',')).unwrap_or(text.len());
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    Err("a quote is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[&str]) -> Result<Option<String>, &'static str> {
        let fields: Vec<_> =
            fields.iter().map(|text| HeaderValue::from_bytes(text.as_bytes()).unwrap()).collect();
        next(&fields)
    }

    #[test]
    fn every_legal_form() {
        for fields in [
            &[r#"<x>; rel="next""#][..],
            &["<x>;rel=next"],
            &["<x>;REL=NEXT"],
            &["<x> ; rel = \"next\" ; n=2"],
            &[r#"<x>; title="a, b; <c>"; rel="next""#],
            &[r#"<x>; title="\"rel=prev"; rel="next""#],
            &[r#"<x>; rel="last next""#],
            &["<x>; rel=\"next\tlast\""],
            &[r#"<x>; rel=next; rel=prev"#],
            &[r#"<a>; rel="prev", <x>; rel="next""#],
            &[r#"<x>; rel="next", <a>; rel="prev""#],
            &[r#"<a>; rel=prev,<x>; rel=next,"#],
            &[r#", <x>; rel="next" , ,"#],
            &[r#"<a,b>; rel="first""#, r#"<x>; rel="next""#],
            &[r#"<x>; rel="next""#, r#"<a>; rel="last""#],
            &[r#"<x>; rel="next""#, r#"<x>; rel="next""#],
            &["< x >;; rel=next"],
            &["<x>; crossorigin; rel=next"],
        ] {
            assert_eq!(of(fields), Ok(Some("x".into())), "{fields:?}");
        }
        assert_eq!(
            of(&["</v2/x/tags/list?last=b&n=2>; rel=next"]),
            Ok(Some("/v2/x/tags/list?last=b&n=2".into()))
        );
        assert_eq!(of(&["<a;b,c>; rel=next"]), Ok(Some("a;b,c".into())));
    }

    #[test]
    fn no_next_page() {
        for fields in [
            &[][..],
            &[""],
            &["<x>"],
            &[r#"<x>; rel="prev""#],
            &[r#"<x>; title="rel=next""#],
            &[r#"<x>; rel="prev"; rel="next""#],
            &[r#"<x>; rel="nextprev""#],
            &[r#"<x>; relation="next""#],
        ] {
            assert_eq!(of(fields), Ok(None), "{fields:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for fields in [
            &["<x"][..],
            &["x; rel=next"],
            &[r#"<x>; rel="next"#],
            &["<x> y; rel=next"],
            &["<a>; rel=next, <b>; rel=next"],
            &["<a>; rel=next", "<b>; rel=next"],
            &["<\u{e9}"],
        ] {
            assert!(of(fields).is_err(), "{fields:?}");
        }
    }
}
