use crate::Bad;
use crate::fields::{self, Fields, Head};
use crate::values::{self, Reader, Value};

/// Numbers that look random and are the same each time (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: u64) -> usize {
        (self.next() % most) as usize
    }

    /// Bytes, some of which mean something in a format.
    fn bytes(&mut self) -> Vec<u8> {
        let length = self.below(20);
        (0..length).map(|_| if self.below(2) == 0 { self.below(10) } else { self.below(256) } as u8).collect()
    }

    fn without_zero(&mut self) -> Vec<u8> {
        self.bytes().into_iter().filter(|byte| *byte != 0).collect()
    }
}

/// A value with what is in it.
#[derive(Clone, Debug, PartialEq)]
enum Own {
    Null,
    Boolean(bool),
    Integer(i64),
    /// By its bits, so that NaN is like itself.
    Float(u64),
    Text(Vec<u8>),
    Json(Vec<u8>),
    Bytes(Vec<u8>),
    List(Vec<Own>),
}

fn random(numbers: &mut Numbers, depth: usize) -> Own {
    match numbers.below(if depth < 4 { 8 } else { 7 }) {
        0 => Own::Null,
        1 => Own::Boolean(numbers.below(2) == 0),
        2 => Own::Integer(numbers.next() as i64),
        3 => Own::Float(numbers.next()),
        4 => Own::Text(numbers.bytes()),
        5 => Own::Json(numbers.bytes()),
        6 => Own::Bytes(numbers.bytes()),
        _ => Own::List((0..numbers.below(4)).map(|_| random(numbers, depth + 1)).collect()),
    }
}

fn write(own: &Own, out: &mut Vec<u8>) {
    match own {
        Own::Null => Value::Null.write(out),
        Own::Boolean(value) => Value::Boolean(*value).write(out),
        Own::Integer(value) => Value::Integer(*value).write(out),
        Own::Float(bits) => Value::Float(f64::from_bits(*bits)).write(out),
        Own::Text(bytes) => Value::Text(bytes).write(out),
        Own::Json(bytes) => Value::Json(bytes).write(out),
        Own::Bytes(bytes) => Value::Bytes(bytes).write(out),
        Own::List(values) => {
            Value::List(values.len() as u32).write(out);
            values.iter().for_each(|value| write(value, out));
        }
    }
}

fn read(reader: &mut Reader<'_>) -> Result<Own, Bad> {
    Ok(match reader.value()? {
        Value::Null => Own::Null,
        Value::Boolean(value) => Own::Boolean(value),
        Value::Integer(value) => Own::Integer(value),
        Value::Float(value) => Own::Float(value.to_bits()),
        Value::Text(bytes) => Own::Text(bytes.to_vec()),
        Value::Json(bytes) => Own::Json(bytes.to_vec()),
        Value::Bytes(bytes) => Own::Bytes(bytes.to_vec()),
        Value::List(count) => Own::List((0..count).map(|_| read(reader)).collect::<Result<_, _>>()?),
    })
}

/// All values; nested lists are bounded by the bytes, each level takes five.
fn read_all(bytes: &[u8]) -> Result<Vec<Own>, Bad> {
    let mut reader = Reader::new(bytes);
    let mut all = Vec::new();
    while !reader.is_empty() {
        all.push(read(&mut reader)?);
    }
    Ok(all)
}

#[test]
fn values_come_back_as_they_were_written() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2000 {
        let all: Vec<Own> = (0..numbers.below(6)).map(|_| random(&mut numbers, 0)).collect();
        let mut bytes = Vec::new();
        all.iter().for_each(|value| write(value, &mut bytes));
        assert_eq!(read_all(&bytes).as_ref(), Ok(&all));
        // What is cut off is an error, or fewer values: the first ones.
        for length in 0..bytes.len() {
            match read_all(&bytes[..length]) {
                Ok(fewer) => assert_eq!(fewer, all[..fewer.len()]),
                Err(bad) => assert_eq!(bad, Bad::Cut),
            }
        }
    }
}

#[test]
fn whatever_is_read_as_values_is_written_the_same_or_refused() {
    let mut numbers = Numbers(7);
    let mut read = 0;
    for _ in 0..100_000 {
        let bytes = numbers.bytes();
        let Ok(all) = read_all(&bytes) else { continue };
        let mut again = Vec::new();
        all.iter().for_each(|value| write(value, &mut again));
        assert_eq!(again, bytes);
        read += usize::from(!bytes.is_empty());
    }
    assert!(read > 100, "hardly anything was read: {read}");
}

#[test]
fn counts_of_more_than_there_is_are_refused() {
    for tag in [5, 6, 7, 8] {
        assert_eq!(Reader::new(&[tag, 255, 255, 255, 255, 0]).value(), Err(Bad::Cut), "{tag}");
        assert_eq!(Reader::new(&[tag, 1, 0, 0]).value(), Err(Bad::Cut), "{tag}");
    }
    for tag in 9..=255 {
        assert_eq!(Reader::new(&[tag]).value(), Err(Bad::Tag(tag)));
    }
    assert_eq!(Reader::new(&[2, 0, 0, 0, 0]).count(), Err(Bad::Cut));
    assert_eq!(Reader::new(&[2, 0, 0, 0, 0, 0]).count(), Ok(2));
    assert_eq!(Reader::new(&[]).count(), Err(Bad::Cut));
    let mut bytes = Vec::new();
    values::count(&mut bytes, 1);
    values::text(&mut bytes, b"name");
    let mut reader = Reader::new(&bytes);
    assert_eq!((reader.count(), reader.text(), reader.is_empty()), (Ok(1), Ok(&b"name"[..]), true));
}

#[test]
fn no_value_is_larger_than_it_is_said() {
    for value in [Value::Float(1.0), Value::Integer(-1), Value::List(9), Value::Null, Value::Text(b"")] {
        let mut out = Vec::new();
        value.write(&mut out);
        assert!(out.len() <= Value::SIZE, "{value:?}");
    }
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn pairs(fields: Fields<'_>) -> Result<Pairs, Bad> {
    fields.map(|field| field.map(|(name, value)| (name.to_vec(), value.to_vec()))).collect()
}

#[test]
fn heads_come_back_as_they_were_written() {
    let mut numbers = Numbers(3);
    for _ in 0..2000 {
        let start: Vec<Vec<u8>> = fields::NAMES.iter().map(|_| numbers.without_zero()).collect();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let parameters: Vec<(String, String)> = (0..numbers.below(4))
            .map(|_| (text(numbers.without_zero()), text(numbers.without_zero())))
            .collect();
        let headers: Pairs =
            (0..numbers.below(5)).map(|_| (numbers.without_zero(), numbers.without_zero())).collect();
        let borrowed: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut bytes = fields::begin(std::array::from_fn(|at| start[at].as_slice()), &borrowed).unwrap();
        for (name, value) in &headers {
            fields::field(&mut bytes, name, value).unwrap();
        }
        let head = Head::read(&bytes).unwrap();
        assert_eq!(head.start.map(<[u8]>::to_vec).as_slice(), start);
        let wanted: Pairs =
            parameters.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
        assert_eq!(pairs(head.parameters), Ok(wanted));
        assert_eq!(pairs(head.headers).as_ref(), Ok(&headers));
        for length in 0..bytes.len() {
            if let Ok(fewer) = Head::read(&bytes[..length]).and_then(|head| pairs(head.headers)) {
                assert_eq!(fewer, headers[..fewer.len()]);
            }
        }
    }
}

#[test]
fn bad_heads_and_fields_are_refused() {
    let start = |count: &str| [&b"a\0b\0c\0d\0e\0f\0"[..], count.as_bytes(), b"\0"].concat();
    assert!(Head::read(&start("0")).is_ok());
    for count in ["", "-1", "x", "1.0", "99999999999999999999999999", "\u{ff11}"] {
        assert_eq!(Head::read(&start(count)).map(|_| ()), Err(Bad::Number), "{count}");
    }
    for count in ["1", "18446744073709551615"] {
        assert_eq!(Head::read(&start(count)).map(|_| ()), Err(Bad::Cut), "{count}");
    }
    for bytes in [&b""[..], b"\0", b"a\0b\0c\0d\0e\0f\0", b"a\0b\0c\0d\0e\0f"] {
        assert_eq!(Head::read(bytes).map(|_| ()), Err(Bad::Cut), "{bytes:?}");
    }
    for bytes in [&b"a"[..], b"a\0", b"a\0b", b"a\0b\0c"] {
        assert_eq!(pairs(Fields::new(bytes)), Err(Bad::Cut), "{bytes:?}");
    }
    let mut fields = Fields::new(b"a\0b\0c");
    assert_eq!(fields.next(), Some(Ok((&b"a"[..], &b"b"[..]))));
    assert_eq!((fields.next(), fields.next()), (Some(Err(Bad::Cut)), None));
    let mut out = b"x".to_vec();
    for (name, value) in [(&b"a\0"[..], &b"b"[..]), (b"a", b"\0"), (b"\0", b"")] {
        assert_eq!(fields::field(&mut out, name, value), Err(Bad::Zero));
    }
    assert_eq!(out, b"x");
    assert_eq!(fields::begin([b"a", b"b\0", b"", b"", b"", b""], &[]), Err(Bad::Zero));
    assert_eq!(fields::begin([b""; 6], &[("a", "\0")]), Err(Bad::Zero));
}
