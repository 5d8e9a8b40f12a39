//! What a token's claims must say (RFC 7519 section 4.1).

use crate::object::{Object, string};
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};

/// The checks of one verification.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// One of these must be in `aud`; empty for no check.
    pub audience: Vec<String>,
    /// `iss` must be one of these; empty for no check.
    pub issuer: Vec<String>,
    /// Seconds by which clocks may differ.
    pub leeway: f64,
    pub validate_exp: bool,
    pub validate_nbf: bool,
    /// Claims that must be there; none means `exp` while it is validated.
    pub required: Option<Vec<String>>,
}

fn refuse(message: impl Into<String>) -> Error {
    error(ErrorCode::InvalidData, format!("the token is refused: {}", message.into()))
}

/// A `NumericDate`: seconds since 1970, with a fraction or without.
fn date(claims: &Object, name: &str) -> Result<Option<f64>, Error> {
    match (claims.raw(name), claims.number(name)) {
        (None, _) => Ok(None),
        (_, Some(seconds)) => Ok(Some(seconds)),
        (Some(value), None) => Err(refuse(format!("the claim '{name}' is not a number of seconds: {value}"))),
    }
}

/// The strings of a claim that is one string or a list of them.
fn strings(claims: &Object, name: &str) -> Result<Vec<String>, Error> {
    let Some(value) = claims.raw(name) else {
        return Err(refuse(format!("the claim '{name}' is missing")));
    };
    if let Some(one) = claims.text(name) {
        return Ok(vec![one]);
    }
    match claims.list(name) {
        Some(list) => Ok(list.iter().filter_map(|item| string(item.get())).collect()),
        None => Err(refuse(format!("the claim '{name}' is neither a string nor a list: {value}"))),
    }
}

/// The longest that a clock may be off, seconds: more would be no check at all.
const LEEWAY_MAX: f64 = 86_400.0;

/// Checks `claims` at the time `now`, in seconds since 1970.
///
/// # Errors
/// `invalid-data`, naming the claim; `invalid-argument` for a leeway that is no number of seconds.
pub fn check(claims: &Object, rules: &Rules, now: f64) -> Result<(), Error> {
    // A NaN would make every comparison below false.
    if !(0.0..=LEEWAY_MAX).contains(&rules.leeway) {
        let message =
            format!("the leeway is not a number of seconds from 0 to {LEEWAY_MAX}: {}", rules.leeway);
        return Err(error(ErrorCode::InvalidArgument, message));
    }
    let by_default: &[String] = &["exp".to_string()];
    let required = match &rules.required {
        Some(required) => required,
        None if rules.validate_exp => by_default,
        None => &[],
    };
    for name in required {
        if claims.raw(name).is_none_or(|value| value == "null") {
            let hint =
                if rules.required.is_none() { "; set validate_exp = false if that is meant" } else { "" };
            return Err(refuse(format!("the claim '{name}' is missing{hint}")));
        }
    }
    if rules.validate_exp
        && let Some(expires) = date(claims, "exp")?
        && now - rules.leeway >= expires
    {
        return Err(refuse(format!("it has expired: the claim 'exp' is {expires}, now is {}", now.floor())));
    }
    if rules.validate_nbf
        && let Some(starts) = date(claims, "nbf")?
        && now + rules.leeway < starts
    {
        return Err(refuse(format!(
            "it is not valid yet: the claim 'nbf' is {starts}, now is {}",
            now.floor()
        )));
    }
    if !rules.audience.is_empty() {
        let audience = strings(claims, "aud")?;
        if !audience.iter().any(|own| rules.audience.iter().any(|wanted| wanted == own)) {
            let (own, wanted) = (audience.join(", "), rules.audience.join(", "));
            return Err(refuse(format!("the claim 'aud' is for {own}, not for {wanted}")));
        }
    }
    if !rules.issuer.is_empty() {
        let wanted = rules.issuer.join(", ");
        match claims.raw("iss") {
            Some(_) if claims.text("iss").is_some_and(|issuer| rules.issuer.contains(&issuer)) => {}
            Some(other) => return Err(refuse(format!("the claim 'iss' is {other}, not {wanted}"))),
            None => return Err(refuse(format!("the claim 'iss' is missing; it shall be {wanted}"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_audiences_and_issuers() {
        let rules = Rules { validate_exp: true, validate_nbf: true, ..Rules::default() };
        let list = |items: &[&str]| items.iter().map(|item| item.to_string()).collect::<Vec<_>>();
        let audience = Rules { audience: list(&["a", "b"]), ..Rules::default() };
        let issuer = Rules { issuer: list(&["https://i"]), ..Rules::default() };
        for (claims, rules, refusal) in [
            (r#"{"exp": 1001}"#, rules.clone(), None),
            (r#"{"exp": 1000}"#, rules.clone(), Some("'exp' is 1000")),
            (r#"{"exp": 999.5}"#, Rules { leeway: 1.0, ..rules.clone() }, None),
            (r#"{"exp": 999}"#, Rules { leeway: 1.0, ..rules.clone() }, Some("'exp' is 999")),
            (r#"{"exp": "1001"}"#, rules.clone(), Some("'exp' is not a number")),
            (r#"{"exp": null}"#, rules.clone(), Some("'exp' is missing")),
            (r#"{"exp": 1e400}"#, rules.clone(), Some("'exp' is not a number")),
            (r#"{"exp": 2000, "other": 1e400, "more": "\ud800"}"#, rules.clone(), None),
            ("{}", rules.clone(), Some("'exp' is missing")),
            ("{}", Rules { required: Some(Vec::new()), ..rules.clone() }, None),
            (r#"{"exp": 1}"#, Rules { validate_exp: false, ..rules.clone() }, None),
            (r#"{"exp": 2000, "nbf": 1000}"#, rules.clone(), None),
            (r#"{"exp": 2000, "nbf": 1001}"#, rules.clone(), Some("'nbf' is 1001")),
            (r#"{"exp": 2000, "nbf": 1001}"#, Rules { leeway: 1.0, ..rules.clone() }, None),
            (r#"{"exp": 2000, "nbf": 1001}"#, Rules { validate_nbf: false, ..rules.clone() }, None),
            (r#"{"exp": -85000}"#, Rules { leeway: LEEWAY_MAX, ..rules.clone() }, None),
            (r#"{"exp": 2000}"#, Rules { leeway: LEEWAY_MAX + 0.5, ..rules.clone() }, Some("leeway")),
            (r#"{"exp": 2000}"#, Rules { leeway: f64::NAN, ..rules.clone() }, Some("leeway")),
            (r#"{"exp": 2000}"#, Rules { leeway: -1.0, ..rules }, Some("leeway")),
            (r#"{"aud": "b"}"#, audience.clone(), None),
            (r#"{"aud": ["x", "a"]}"#, audience.clone(), None),
            (r#"{"aud": ["x"]}"#, audience.clone(), Some("'aud' is for x")),
            (r#"{"aud": 1}"#, audience.clone(), Some("'aud' is neither")),
            (r#"{"aud": [1e400, "a"]}"#, audience.clone(), None),
            ("{}", audience, Some("'aud' is missing")),
            (r#"{"iss": "https://i"}"#, issuer.clone(), None),
            (r#"{"iss": "https://i/"}"#, issuer.clone(), Some("'iss' is")),
            (r#"{"iss": ["https://i"]}"#, issuer.clone(), Some("'iss' is")),
            ("{}", issuer, Some("'iss' is missing")),
        ] {
            let parsed = Object::parse(claims.as_bytes()).unwrap();
            match (check(&parsed, &rules, 1000.0), refusal) {
                (Ok(()), None) => {}
                (Err(error), Some(refusal)) => {
                    assert!(error.message.contains(refusal), "{claims}: {}", error.message)
                }
                (result, _) => panic!("{claims}: {result:?}"),
            }
        }
    }
}
