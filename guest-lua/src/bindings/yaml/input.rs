//! The text of a YAML document as the parser reads it, with the work counted.

use crate::work::spend;
use granit_parser::{BorrowedInput, Input, StrInput};

/// Where the parser takes many characters at once, its own way through the text is used; what the trait does
/// by single characters is counted by them.
pub struct Counted<'a>(StrInput<'a>);

/// What one character costs: the parser looks at it several times.
const CHARACTER: usize = 8;

impl<'a> Counted<'a> {
    pub fn new(text: &'a str) -> Counted<'a> {
        Counted(StrInput::new(text))
    }
}

impl Input for Counted<'_> {
    #[inline]
    fn lookahead(&mut self, count: usize) {
        spend(1);
        self.0.lookahead(count);
    }

    fn buflen(&self) -> usize {
        self.0.buflen()
    }

    fn bufmaxlen(&self) -> usize {
        self.0.bufmaxlen()
    }

    fn raw_read_ch(&mut self) -> char {
        spend(CHARACTER);
        self.0.raw_read_ch()
    }

    fn raw_read_non_breakz_ch(&mut self) -> Option<char> {
        spend(CHARACTER);
        self.0.raw_read_non_breakz_ch()
    }

    #[inline]
    fn skip(&mut self) {
        spend(CHARACTER);
        self.0.skip();
    }

    fn skip_n(&mut self, count: usize) {
        spend(CHARACTER * count);
        self.0.skip_n(count);
    }

    #[inline]
    fn peek(&self) -> char {
        self.0.peek()
    }

    #[inline]
    fn peek_nth(&self, n: usize) -> char {
        self.0.peek_nth(n)
    }

    fn byte_offset(&self) -> Option<usize> {
        self.0.byte_offset()
    }

    fn slice_bytes(&self, start: usize, end: usize) -> Option<&str> {
        self.0.slice_bytes(start, end)
    }

    fn take_quoted_scalar_ascii_chunk(&mut self, single: bool) -> &str {
        let chunk = self.0.take_quoted_scalar_ascii_chunk(single);
        spend(4 * chunk.len());
        chunk
    }

    fn fetch_plain_scalar_chunk(&mut self, out: &mut String, count: usize, in_flow: bool) -> (bool, usize) {
        let (end, taken) = self.0.fetch_plain_scalar_chunk(out, count, in_flow);
        spend(CHARACTER * taken);
        (end, taken)
    }

    fn skip_plain_scalar_chunk(&mut self, count: usize, in_flow: bool) -> (bool, usize) {
        let (end, taken) = self.0.skip_plain_scalar_chunk(count, in_flow);
        spend(CHARACTER * taken);
        (end, taken)
    }
}

impl<'a> BorrowedInput<'a> for Counted<'a> {
    fn slice_borrowed(&self, start: usize, end: usize) -> Option<&'a str> {
        self.0.slice_borrowed(start, end)
    }
}
