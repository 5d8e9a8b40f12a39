//! The types of PostgreSQL that have a conversion.

use sqlx::TypeInfo;
use sqlx::postgres::{PgTypeInfo, PgTypeKind};

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

impl Kind {
    /// The kind of a type. Types that users define are what they are made of.
    pub fn of(info: &PgTypeInfo) -> Kind {
        match info.kind() {
            PgTypeKind::Array(element) => {
                return Kind::Array(Box::new(Kind::of(element)), element.oid().map_or(0, |oid| oid.0));
            }
            PgTypeKind::Domain(base) => return Kind::of(base),
            PgTypeKind::Enum(_) => return Kind::Text,
            PgTypeKind::Range(bound) => return Kind::Range(Box::new(Kind::of(bound))),
            PgTypeKind::Simple | PgTypeKind::Pseudo | PgTypeKind::Composite(_) => {}
        }
        // The numbers of PostgreSQL's own types never change (pg_type.dat).
        match info.oid().map_or(0, |oid| oid.0) {
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
            _ => match info.name().to_ascii_lowercase().as_str() {
                "citext" | "cstring" => Kind::Text,
                name => Kind::Other(name.to_string()),
            },
        }
    }
}
