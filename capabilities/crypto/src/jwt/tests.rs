//! Every algorithm both ways, and the attacks on verifiers.

use super::*;
use crate::key::{from_jwks, from_text};

macro_rules! pem {
    ($name:literal) => {
        include_bytes!(concat!("../../testdata/", $name))
    };
}

const CLAIMS: &[u8] = br#"{"sub":"me","exp":2000}"#;

fn rules() -> Rules {
    Rules { validate_exp: true, ..Rules::default() }
}

fn signed(key: &[u8], algorithm: &str) -> String {
    sign(CLAIMS.to_vec(), key, algorithm, b"{}").unwrap()
}

fn check(token: &str, keys: &[Candidate], algorithms: &[&str]) -> Result<Vec<u8>, Error> {
    let algorithms: Vec<_> = algorithms.iter().map(|name| name.to_string()).collect();
    verify(token, keys, &algorithms, &rules(), 1000.0).map(|parts| parts.claims_json)
}

fn code(result: Result<Vec<u8>, Error>) -> ErrorCode {
    result.unwrap_err().code
}

fn token(header: &str, claims: &[u8], signature: &[u8]) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!("{}.{}.{}", encode(header.as_bytes()), encode(claims), encode(signature))
}

#[test]
fn every_algorithm_signs_and_verifies() {
    for (algorithm, private, public) in [
        ("HS256", &b"secret"[..], &b"secret"[..]),
        ("HS384", b"\0\xff binary", b"\0\xff binary"),
        ("HS512", b"x", b"x"),
        ("RS256", pem!("rsa.pem"), pem!("rsa.pub")),
        ("RS384", pem!("rsa1.pem"), pem!("rsa1.pub")),
        ("RS512", pem!("rsa.pem"), pem!("cert.pem")),
        ("PS256", pem!("rsa.pem"), pem!("rsa.pub")),
        ("PS384", pem!("rsa.pem"), pem!("rsa.pub")),
        ("PS512", pem!("rsa.pem"), pem!("rsa.pub")),
        ("ES256", pem!("ec.pem"), pem!("ec.pub")),
        ("ES256", pem!("ec1.pem"), pem!("ec.pub")),
        ("ES384", pem!("ec384-1.pem"), pem!("ec384.pub")),
        ("EdDSA", pem!("ed.pem"), pem!("ed.pub")),
    ] {
        let token = signed(private, algorithm);
        let keys = from_text(public).unwrap();
        assert_eq!(check(&token, &keys, &[]).unwrap(), CLAIMS, "{algorithm}");
        assert_eq!(check(&token, &keys, &["HS256", "RS256", algorithm]).unwrap(), CLAIMS, "{algorithm}");
        // One bit of each part.
        for part in 0..3 {
            let mut parts: Vec<String> = token.split('.').map(str::to_string).collect();
            let mut bytes = URL_SAFE_NO_PAD.decode(&parts[part]).unwrap();
            let last = bytes.len() - 3;
            bytes[last] ^= 1;
            parts[part] = URL_SAFE_NO_PAD.encode(bytes);
            assert_eq!(
                code(check(&parts.join("."), &keys, &[])),
                ErrorCode::InvalidData,
                "{algorithm} {part}"
            );
        }
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    // The attack: HS256 with the bytes of the public key that everybody has.
    let attack = |secret: &[u8]| {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(CLAIMS));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let tag = ring::hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    };
    for public in [&pem!("rsa.pub")[..], pem!("cert.pem"), pem!("ec.pub"), pem!("ed.pub"), pem!("rsa1.pub")] {
        let keys = from_text(public).unwrap();
        assert_eq!(code(check(&attack(public), &keys, &[])), ErrorCode::InvalidData);
        assert_eq!(code(check(&attack(public), &keys, &["RS256", "ES256", "EdDSA"])), ErrorCode::InvalidData);
        // Even a caller who asks for it is refused.
        assert_eq!(code(check(&attack(public), &keys, &["HS256"])), ErrorCode::InvalidArgument);
        let text = std::str::from_utf8(public).unwrap();
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
        assert_eq!(from_text(&der).unwrap_err().code, ErrorCode::InvalidArgument);
        assert!(sign(CLAIMS.to_vec(), public, "HS256", b"{}").is_err());
    }
    // The JSON of a key set as a string is a key set, not a secret.
    let jwks = jwks();
    assert_eq!(
        code(check(&attack(jwks.as_bytes()), &from_text(jwks.as_bytes()).unwrap(), &[])),
        ErrorCode::InvalidData
    );
}

#[test]
fn none_and_nonsense_are_refused() {
    for keys in [from_text(b"secret").unwrap(), from_text(pem!("rsa.pub")).unwrap()] {
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["HS256"]}"#,
            "{}",
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
            "[]",
            "null",
            "{",
        ] {
            for signature in [&b""[..], b"x"] {
                let token = token(header, CLAIMS, signature);
                assert_eq!(code(check(&token, &keys, &[])), ErrorCode::InvalidData, "{header}");
            }
        }
    }
    let keys = from_text(b"secret").unwrap();
    let good = signed(b"secret", "HS256");
    for text in [
        String::new(),
        "a.b".into(),
        "..".into(),
        "a.b.c.d.e".into(),
        format!("{good}="),
        format!("{good}."),
        format!(" {good}"),
        good.replace('.', ".\n"),
        "x".repeat(TOKEN_MAX + 1),
    ] {
        assert_eq!(code(check(&text, &keys, &[])), ErrorCode::InvalidData, "{}", &text[..text.len().min(40)]);
    }
    assert_eq!(code(check(&good, &keys, &["none"])), ErrorCode::InvalidArgument);
    assert_eq!(code(check(&good, &keys, &["HS512"])), ErrorCode::InvalidData);
    assert_eq!(code(check(&good, &from_text(b"other").unwrap(), &[])), ErrorCode::InvalidData);
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(code(check(&token(&deep, CLAIMS, b"x"), &keys, &[])), ErrorCode::InvalidData);
}

fn jwk(kid: &str, key: &VerifyKey, more: &str) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let fields = match key {
        VerifyKey::Secret(k) => format!(r#""kty":"oct","k":"{}""#, encode(k)),
        VerifyKey::Rsa { n, e } => format!(r#""kty":"RSA","n":"{}","e":"{}""#, encode(n), encode(e)),
        VerifyKey::P256(point) => {
            format!(
                r#""kty":"EC","crv":"P-256","x":"{}","y":"{}""#,
                encode(&point[1..33]),
                encode(&point[33..])
            )
        }
        VerifyKey::P384(point) => {
            format!(
                r#""kty":"EC","crv":"P-384","x":"{}","y":"{}""#,
                encode(&point[1..49]),
                encode(&point[49..])
            )
        }
        VerifyKey::Ed25519(x) => format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, encode(x)),
    };
    format!(r#"{{"kid":"{kid}",{fields}{more}}}"#)
}

use crate::key::VerifyKey;

fn public(pem: &[u8]) -> VerifyKey {
    from_text(pem).unwrap().remove(0).key
}

fn jwks() -> String {
    let keys = [
        jwk("r", &public(pem!("rsa.pub")), r#","alg":"RS256","use":"sig""#),
        jwk("e", &public(pem!("ec.pub")), ""),
        jwk("e3", &public(pem!("ec384.pub")), r#","key_ops":["verify"]"#),
        jwk("d", &public(pem!("ed.pub")), r#","use":"sig""#),
        jwk("x", &public(pem!("rsa.pub")), r#","use":"enc""#),
        r#"{"kid":"u","kty":"XYZ"}"#.into(),
    ];
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

#[test]
fn key_sets_go_by_kid_kind_and_algorithm() {
    let keys = from_jwks(jwks().as_bytes()).unwrap();
    assert_eq!(keys.len(), 4);
    let with_kid = |key: &[u8], algorithm: &str, kid: &str| {
        sign(CLAIMS.to_vec(), key, algorithm, format!(r#"{{"kid":"{kid}"}}"#).as_bytes()).unwrap()
    };
    for (private, algorithm, kid) in [
        (&pem!("rsa.pem")[..], "RS256", "r"),
        (pem!("ec.pem"), "ES256", "e"),
        (pem!("ec384-1.pem"), "ES384", "e3"),
        (pem!("ed.pem"), "EdDSA", "d"),
    ] {
        assert_eq!(check(&with_kid(private, algorithm, kid), &keys, &[]).unwrap(), CLAIMS, "{algorithm}");
        assert_eq!(
            check(&signed(private, algorithm), &keys, &[]).unwrap(),
            CLAIMS,
            "{algorithm} without kid"
        );
    }
    for (private, algorithm, kid) in [
        (&pem!("rsa.pem")[..], "RS256", "e"), // another key's
        (pem!("rsa.pem"), "RS256", "unknown"),
        (pem!("rsa.pem"), "RS256", "x"), // for encryption
        (pem!("rsa.pem"), "RS512", "r"), // the key says RS256
        (b"secret", "HS256", "r"),
    ] {
        assert_eq!(
            code(check(&with_kid(private, algorithm, kid), &keys, &[])),
            ErrorCode::InvalidData,
            "{algorithm} {kid}"
        );
    }
    // A secret in a set verifies HS, and nothing else does.
    let secret = from_jwks(jwk("s", &VerifyKey::Secret(b"secret".to_vec()), "").as_bytes()).unwrap();
    assert_eq!(check(&with_kid(b"secret", "HS256", "s"), &secret, &["HS256"]).unwrap(), CLAIMS);
    for broken in [
        "",
        "[]",
        "{}",
        r#"{"keys":[]}"#,
        r#"{"keys":[1]}"#,
        r#"{"kty":"RSA","n":"!","e":"AQAB"}"#,
        r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#,
    ] {
        let result = from_jwks(broken.as_bytes());
        assert!(result.is_err() || result.is_ok_and(|keys| keys.is_empty()), "{broken}");
    }
}

/// One entry that cannot be used, whatever is wrong with it, leaves the others as they are.
#[test]
fn an_entry_that_cannot_be_used_locks_nobody_out() {
    let good = jwk("good", &public(pem!("rsa.pub")), "");
    let token = sign(CLAIMS.to_vec(), pem!("rsa.pem"), "RS256", br#"{"kid":"good"}"#).unwrap();
    let plain = signed(pem!("rsa.pem"), "RS256");
    let x = URL_SAFE_NO_PAD.encode([1; 32]);
    let n = URL_SAFE_NO_PAD.encode([0xff; 256]);
    let (long, short) = (URL_SAFE_NO_PAD.encode([1; 33]), URL_SAFE_NO_PAD.encode([1; 31]));
    let small = URL_SAFE_NO_PAD.encode([0xff; 128]);
    let pem = URL_SAFE_NO_PAD.encode(pem!("rsa.pub"));
    for bad in [
        "null".to_string(),
        "1".into(),
        "\"x\"".into(),
        "[]".into(),
        "{}".into(),
        r#"{"kid":"good"}"#.into(),
        r#"{"kty":1,"kid":"good"}"#.into(),
        r#"{"kty":"XYZ","kid":"good"}"#.into(),
        r#"{"kty":"RSA"}"#.into(),
        format!(r#"{{"kty":"RSA","n":"{n}"}}"#),
        r#"{"kty":"RSA","e":"AQAB"}"#.into(),
        format!(r#"{{"kty":"RSA","n":"{n}","e":1}}"#),
        format!(r#"{{"kty":"RSA","n":"{n}","e":""}}"#),
        format!(r#"{{"kty":"RSA","n":"{small}","e":"AQAB"}}"#),
        r#"{"kty":"RSA","n":"!","e":"AQAB"}"#.into(),
        r#"{"kty":"RSA","n":"+/+/","e":"AQAB"}"#.into(),
        r#"{"kty":"RSA","n":"","e":"AQAB"}"#.into(),
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}"}}"#),
        format!(r#"{{"kty":"EC","x":"{x}","y":"{x}"}}"#),
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{long}","y":"{x}"}}"#),
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{short}"}}"#),
        format!(r#"{{"kty":"EC","crv":"P-384","x":"{x}","y":"{x}"}}"#),
        format!(r#"{{"kty":"EC","crv":"P-521","x":"{x}","y":"{x}"}}"#),
        format!(r#"{{"kty":"EC","crv":"secp256k1","x":"{x}","y":"{x}"}}"#),
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":null}}"#),
        // A point that is not on the curve.
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}","kid":"good"}}"#),
        r#"{"kty":"OKP","crv":"Ed25519"}"#.into(),
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{long}"}}"#),
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{short}"}}"#),
        format!(r#"{{"kty":"OKP","crv":"Ed448","x":"{x}"}}"#),
        format!(r#"{{"kty":"OKP","crv":"X25519","x":"{x}"}}"#),
        r#"{"kty":"oct"}"#.into(),
        r#"{"kty":"oct","k":""}"#.into(),
        r#"{"kty":"oct","k":"a b"}"#.into(),
        format!(r#"{{"kty":"oct","k":"{pem}"}}"#),
        jwk("good", &public(pem!("ec.pub")), r#","use":"enc""#),
        jwk("good", &public(pem!("ec.pub")), r#","use":1"#),
        jwk("good", &public(pem!("ec.pub")), r#","key_ops":["encrypt"]"#),
        jwk("good", &public(pem!("ec.pub")), r#","key_ops":"verify""#),
        jwk("good", &public(pem!("ec.pub")), r#","alg":"RS256""#),
        jwk("good", &public(pem!("ec.pub")), r#","alg":"ES256K""#),
        jwk("good", &public(pem!("ec.pub")), r#","alg":7"#),
        jwk("good", &public(pem!("ec.pub")), r#","kid":7"#),
    ] {
        for set in [format!(r#"{{"keys":[{bad},{good}]}}"#), format!(r#"{{"keys":[{good},{bad}]}}"#)] {
            for keys in [from_jwks(set.as_bytes()), from_text(set.as_bytes())] {
                let keys = keys.unwrap_or_else(|failure| panic!("{bad}: {}", failure.message));
                for token in [&token, &plain] {
                    assert_eq!(check(token, &keys, &["RS256"]).unwrap(), CLAIMS, "{bad}");
                    assert_eq!(check(token, &keys, &[]).unwrap(), CLAIMS, "{bad}");
                }
            }
        }
        // Alone it verifies nothing, and that is said.
        let alone = from_jwks(format!(r#"{{"keys":[{bad}]}}"#).as_bytes());
        let refused = alone.and_then(|keys| check(&token, &keys, &[]));
        assert!(refused.is_err(), "{bad}");
    }
    let failure = from_jwks(br#"{"keys":[1,{"kty":"RSA","n":"!","e":"AQAB"}]}"#).unwrap_err();
    assert!(failure.message.contains("entry 1: it is not a key"), "{}", failure.message);
    assert!(failure.message.contains("entry 2: its 'n' is not base64url"), "{}", failure.message);
}

#[test]
fn what_a_signature_is_written_in_matters_only_where_it_is_verified() {
    let token = signed(b"secret", "HS256");
    let keys = from_text(b"secret").unwrap();
    let (rest, _) = token.rsplit_once('.').unwrap();
    for signature in ["", "!", "AAA=", "AA+/", "\u{e9}", "A"] {
        let token = format!("{rest}.{signature}");
        assert_eq!(split(&token).unwrap().claims_json, CLAIMS, "{signature}");
        assert_eq!(code(check(&token, &keys, &[])), ErrorCode::InvalidData, "{signature}");
    }
}

#[test]
fn what_is_no_member_of_a_key_is_nobodys_business() {
    let good = jwk("e", &public(pem!("ec.pub")), "");
    let token = sign(CLAIMS.to_vec(), pem!("ec.pem"), "ES256", br#"{"kid":"e"}"#).unwrap();
    let x = URL_SAFE_NO_PAD.encode([1; 32]);
    for entry in [
        "1",
        "null",
        "[]",
        r#""x""#,
        "{}",
        r#"{"kty":1}"#,
        r#"{"kty":"XYZ"}"#,
        r#"{"kid":"e","kty":"EC"}"#,
        r#"{"kid":"e","kty":"EC","crv":"P-256","x":"AA"}"#,
        r#"{"kid":"e","kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
        r#"{"kid":"e","kty":"EC","crv":"P-256","x":5,"y":[]}"#,
        r#"{"kid":"e","kty":"EC","crv":"P-521","x":"AA","y":"AA"}"#,
        r#"{"kid":"e","kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#,
        r#"{"kid":"e","kty":"OKP","crv":"Ed25519","x":"AA"}"#,
        r#"{"kid":"e","kty":"OKP","crv":"X25519","x":"AA"}"#,
        r#"{"kid":"e","kty":"RSA","n":"!!","e":"AQAB"}"#,
        r#"{"kid":"e","kty":"RSA","n":"+/==","e":"AQAB"}"#,
        r#"{"kid":"e","kty":"RSA","n":"AQ","e":"AQAB"}"#,
        r#"{"kid":"e","kty":"RSA","e":"AQAB"}"#,
        r#"{"kid":"e","kty":"oct","k":""}"#,
        r#"{"kid":"e","kty":"oct"}"#,
        r#"{"kid":"e","kty":"oct","k":1e400}"#,
        r#"{"kid":"e","kty":"oct","k":"\ud800"}"#,
        &format!(r#"{{"kid":"e","kty":"OKP","crv":"Ed25519","x":"{x}","use":"enc"}}"#),
        &format!(r#"{{"kid":"e","kty":"OKP","crv":"Ed25519","x":"{x}","use":7}}"#),
        &format!(r#"{{"kid":"e","kty":"OKP","crv":"Ed25519","x":"{x}","key_ops":"verify"}}"#),
        &format!(r#"{{"kid":"e","kty":"OKP","crv":"Ed25519","x":"{x}","key_ops":["encrypt"]}}"#),
        &format!(r#"{{"kid":["e"],"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#),
        &format!(r#"{{"kid":"e","kty":"OKP","crv":"Ed25519","x":"{x}","alg":"RS256"}}"#),
        &format!(r#"{{"kid":"e","kty":"OKP","crv":"Ed25519","x":"{x}","alg":{{}}}}"#),
    ] {
        for set in [format!(r#"{{"keys":[{entry},{good}]}}"#), format!(r#"{{"keys":[{good},{entry}]}}"#)] {
            let keys = from_jwks(set.as_bytes()).unwrap_or_else(|why| panic!("{entry}: {}", why.message));
            assert_eq!(keys.len(), 1, "{entry}");
            assert_eq!(check(&token, &keys, &[]).unwrap(), CLAIMS, "{entry}");
            assert_eq!(check(&token, &from_text(set.as_bytes()).unwrap(), &[]).unwrap(), CLAIMS, "{entry}");
        }
        // Alone it is said why it cannot be used.
        let failed = from_jwks(format!(r#"{{"keys":[{entry}]}}"#).as_bytes()).unwrap_err();
        assert_eq!(failed.code, ErrorCode::InvalidArgument, "{entry}");
        assert!(failed.message.contains("entry 1: "), "{}", failed.message);
    }
    // What is no member of a key is nobody's business.
    let more = jwk("e", &public(pem!("ec.pub")), r#","x5t":7,"other":1e400,"deep":{"a":["\ud800"]}"#);
    let keys = from_jwks(format!(r#"{{"keys":[{more}],"more":1e400}}"#).as_bytes()).unwrap();
    assert_eq!(check(&token, &keys, &[]).unwrap(), CLAIMS);
}

#[test]
fn the_json_of_keys_is_never_a_secret() {
    let good = jwks();
    for text in [
        good.clone(),
        format!("\u{feff}{good}"),
        good[..good.len() - 1].to_string(),
        good.replacen("\"kid\":\"r\"", "\"kid\":1e400", 1),
        good.replacen("\"kid\":\"r\"", "\"kid\":\"\\ud800\"", 1),
    ] {
        let keys = from_text(text.as_bytes()).unwrap_or_default();
        assert!(keys.iter().all(|key| !matches!(key.key, VerifyKey::Secret(_))), "{text}");
    }
}

#[test]
fn decoding_does_not_look_at_the_signature() {
    for signature in ["", "!", "not base64url", "AAA=", "A"] {
        let token =
            format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(CLAIMS));
        assert_eq!(split(&token).unwrap().claims_json, CLAIMS, "{signature}");
        let keys = from_text(b"secret").unwrap();
        assert_eq!(code(check(&token, &keys, &[])), ErrorCode::InvalidData, "{signature}");
    }
}

#[test]
fn claims_and_headers_may_hold_whatever_json_does() {
    let claims = br#"{"exp":2000,"big":1e400,"list":[-1e999]}"#;
    let token = sign(claims.to_vec(), b"secret", "HS256", br#"{"big":1e400}"#).unwrap();
    let keys = from_text(b"secret").unwrap();
    assert_eq!(check(&token, &keys, &[]).unwrap(), claims);
    let header = String::from_utf8(split(&token).unwrap().header_json).unwrap();
    assert_eq!(header, r#"{"alg":"HS256","big":1e400,"typ":"JWT"}"#);
}

#[test]
fn keys_that_cannot_sign_are_named() {
    for (key, algorithm, expected) in [
        (&b"secret"[..], "RS256", "PEM"),
        (pem!("rsa.pub"), "RS256", "private key"),
        (pem!("ec.pem"), "RS256", "not a key for RS256"),
        (pem!("rsa.pem"), "ES256", "not a key for ES256"),
        (pem!("rsa.pem"), "HS256", "not a secret"),
        (pem!("enc.pem"), "RS256", "encrypted"),
        (b"-----BEGIN PRIVATE KEY-----\nx", "RS256", "no line"),
        (b"-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----", "RS256", "not base64"),
        (b"", "HS256", "empty"),
        (b"x", "none", "none"),
        (b"x", "HS999", "HS256"),
    ] {
        let failed = sign(CLAIMS.to_vec(), key, algorithm, b"{}").unwrap_err();
        assert_eq!(failed.code, ErrorCode::InvalidArgument, "{algorithm}");
        assert!(failed.message.contains(expected), "{}", failed.message);
    }
    for header in [&br#"{"alg":"none"}"#[..], br#"{"crit":[]}"#, b"[]", b""] {
        assert!(sign(CLAIMS.to_vec(), b"secret", "HS256", header).is_err());
    }
    assert!(sign(b"[]".to_vec(), b"secret", "HS256", b"{}").is_err());
}

// RFC 7515 A.1: the token of the standard verifies with its key.
#[test]
fn the_example_of_the_standard() {
    let key = r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let keys = from_jwks(key.as_bytes()).unwrap();
    assert!(verify(token, &keys, &[], &rules(), 1_300_819_379.0).is_ok());
    assert!(verify(token, &keys, &[], &rules(), 1_300_819_380.0).unwrap_err().message.contains("expired"));
}
