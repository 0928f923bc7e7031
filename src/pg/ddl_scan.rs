//! PostgreSQL's own scanner over a piece of SQL: where tokens begin, and which are keywords.
//!
//! Scans under the session's settings (standard_conforming_strings), as the parser did, so quotes,
//! dollar quotes and comments are cut exactly as the server cut them.

use std::ffi::{CStr, CString};

use pgrx::prelude::*;

use super::session::quietly;

/// What stands at a token's place, as far as anybody here asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Lower case, as in PostgreSQL's keyword list.
    Keyword(&'static str),
    /// A character that is a token by itself.
    Char(u8),
    /// Names, constants, operators.
    Other,
}

/// One token; `offset` is in bytes from the start of the scanned text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub offset: usize,
    pub kind: TokenKind,
}

impl Token {
    pub fn is_keyword(&self, word: &str) -> bool {
        matches!(self.kind, TokenKind::Keyword(keyword) if keyword == word)
    }

    pub fn is_char(&self, character: u8) -> bool {
        self.kind == TokenKind::Char(character)
    }
}

/// One number for every keyword: PostgreSQL's own numbers differ from version to version, the
/// scanner hands over the keyword's text anyway.
const ANY_KEYWORD: u16 = 9999;
static KEYWORD_TOKENS: [u16; 1024] = [ANY_KEYWORD; 1024];

/// The tokens of `text`. Raises what the scanner raises (an unterminated quote, say); text that the
/// server has parsed before scans again. What the scanner only remarks (a name that is cut short)
/// the user has been told already, so it is kept quiet.
pub fn tokens(text: &[u8]) -> Vec<Token> {
    if may_cut_name(text) {
        quietly(|| scan(text))
    } else {
        scan(text)
    }
}

/// False where no name in `text` can be too long.
fn may_cut_name(text: &[u8]) -> bool {
    let is_in_name =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
    let mut words = text.split(|byte| !is_in_name(byte));
    text.contains(&b'"') || words.any(|word| word.len() >= pg_sys::NAMEDATALEN as usize)
}

fn scan(text: &[u8]) -> Vec<Token> {
    let upto = text
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(text.len());
    let source = CString::new(&text[..upto]).unwrap_or_default();
    let mut extra = pg_sys::core_yy_extra_type::default();
    let extra = &raw mut extra;
    let mut value = pg_sys::core_YYSTYPE::default();
    let mut found = Vec::new();
    // SAFETY: the scanner copies the source; extra and value outlive it; PostgreSQL has fewer than
    // 1024 keywords, so that every index it looks up is inside the table.
    unsafe {
        let scanner = pg_sys::scanner_init(
            source.as_ptr(),
            extra,
            &raw const pg_sys::ScanKeywords,
            KEYWORD_TOKENS.as_ptr(),
        );
        (*extra).escape_string_warning = false;
        loop {
            let mut offset = 0;
            let token = pg_sys::core_yylex(&mut value, &mut offset, scanner);
            if token == 0 {
                break;
            }
            let kind = match token {
                1..=255 => TokenKind::Char(token as u8),
                _ if token == i32::from(ANY_KEYWORD) => keyword(value.keyword),
                _ => TokenKind::Other,
            };
            found.push(Token {
                offset: offset as usize,
                kind,
            });
        }
        pg_sys::scanner_finish(scanner);
    }
    found
}

/// # Safety
/// `word` points into PostgreSQL's static keyword list.
unsafe fn keyword(word: *const std::ffi::c_char) -> TokenKind {
    // SAFETY: static, NUL-terminated and ASCII.
    let word: &'static CStr = unsafe { CStr::from_ptr(word) };
    word.to_str().map_or(TokenKind::Other, TokenKind::Keyword)
}
