//! The types of PostgreSQL that have a conversion.

/// How a value looks on the wire, in binary.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Bool,
    Bytes,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Text,
    /// The one-byte type `"char"`.
    Char,
    Json,
    Jsonb,
    Numeric,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    /// `inet`, or `cidr` where true.
    Inet(bool),
    MacAddr,
    Bits,
    Void,
    Array(Box<Kind>, u32),
    Range(Box<Kind>),
    /// No conversion; by its name.
    Other(String),
}

/// A type, by its number.
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    pub oid: u32,
    /// As PostgreSQL writes it, for messages.
    pub name: String,
    pub kind: Kind,
}

/// PostgreSQL's own types, whose numbers never change (pg_type.dat): number, number of the array of it, name.
const OWN: [(u32, u32, &str); 43] = [
    (16, 1000, "bool"),
    (17, 1001, "bytea"),
    (18, 1002, "char"),
    (19, 1003, "name"),
    (20, 1016, "int8"),
    (21, 1005, "int2"),
    (23, 1007, "int4"),
    (24, 1008, "regproc"),
    (25, 1009, "text"),
    (26, 1028, "oid"),
    (28, 1011, "xid"),
    (29, 1012, "cid"),
    (114, 199, "json"),
    (142, 143, "xml"),
    (650, 651, "cidr"),
    (700, 1021, "float4"),
    (701, 1022, "float8"),
    (774, 775, "macaddr8"),
    (829, 1040, "macaddr"),
    (869, 1041, "inet"),
    (1042, 1014, "bpchar"),
    (1043, 1015, "varchar"),
    (1082, 1182, "date"),
    (1083, 1183, "time"),
    (1114, 1115, "timestamp"),
    (1184, 1185, "timestamptz"),
    (1186, 1187, "interval"),
    (1266, 1270, "timetz"),
    (1560, 1561, "bit"),
    (1562, 1563, "varbit"),
    (1700, 1231, "numeric"),
    (2202, 2207, "regprocedure"),
    (2205, 2210, "regclass"),
    (2206, 2211, "regtype"),
    (2950, 2951, "uuid"),
    (3802, 3807, "jsonb"),
    (3904, 3905, "int4range"),
    (3906, 3907, "numrange"),
    (3908, 3909, "tsrange"),
    (3910, 3911, "tstzrange"),
    (3912, 3913, "daterange"),
    (3926, 3927, "int8range"),
    (705, 0, "unknown"),
];

impl Type {
    /// One of PostgreSQL's own.
    pub fn own(oid: u32) -> Option<Type> {
        if oid == 2278 {
            return Some(Type { oid, name: "void".into(), kind: Kind::Void });
        }
        let (of, array, name) =
            OWN.iter().find(|(of, array, _)| *of == oid || (*array == oid && oid != 0))?;
        let kind = kind(*of, name);
        if *array != oid {
            return Some(Type { oid, name: (*name).into(), kind });
        }
        Some(Type { oid, name: format!("{name}[]"), kind: Kind::Array(Box::new(kind), *of) })
    }
}

/// The kind of a type that is made of no other, except for ranges of PostgreSQL's own.
pub fn kind(oid: u32, name: &str) -> Kind {
    match oid {
        16 => Kind::Bool,
        17 => Kind::Bytes,
        18 => Kind::Char,
        20 => Kind::Int8,
        21 => Kind::Int2,
        23 => Kind::Int4,
        24 | 26 | 28 | 29 | 2202..=2206 => Kind::Oid,
        19 | 25 | 142 | 705 | 1042 | 1043 => Kind::Text,
        114 => Kind::Json,
        650 => Kind::Inet(true),
        869 => Kind::Inet(false),
        700 => Kind::Float4,
        701 => Kind::Float8,
        774 | 829 => Kind::MacAddr,
        1082 => Kind::Date,
        1083 => Kind::Time,
        1114 => Kind::Timestamp,
        1184 => Kind::TimestampTz,
        1186 => Kind::Interval,
        1266 => Kind::TimeTz,
        1560 | 1562 => Kind::Bits,
        1700 => Kind::Numeric,
        2278 => Kind::Void,
        2950 => Kind::Uuid,
        3802 => Kind::Jsonb,
        3904 => Kind::Range(Box::new(Kind::Int4)),
        3906 => Kind::Range(Box::new(Kind::Numeric)),
        3908 => Kind::Range(Box::new(Kind::Timestamp)),
        3910 => Kind::Range(Box::new(Kind::TimestampTz)),
        3912 => Kind::Range(Box::new(Kind::Date)),
        3926 => Kind::Range(Box::new(Kind::Int8)),
        _ => match name {
            "citext" | "cstring" => Kind::Text,
            name => Kind::Other(name.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_types_and_their_arrays() {
        assert_eq!(Type::own(23).unwrap().kind, Kind::Int4);
        let array = Type::own(1007).unwrap();
        assert_eq!((array.name.as_str(), array.kind), ("int4[]", Kind::Array(Box::new(Kind::Int4), 23)));
        assert_eq!(
            Type::own(3905).unwrap().kind,
            Kind::Array(Box::new(Kind::Range(Box::new(Kind::Int4))), 3904)
        );
        assert_eq!((Type::own(600), Type::own(0)), (None, None));
        assert!(OWN.iter().all(|(oid, _, name)| !matches!(kind(*oid, name), Kind::Other(_))));
    }
}
