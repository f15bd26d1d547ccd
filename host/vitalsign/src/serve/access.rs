//! Who is shown more than the status.
//!
//! Knows no file and no environment: the token comes in resolved.

use axum::http::{HeaderMap, header::AUTHORIZATION};

/// A bearer token, of which only the hash is kept. It is never printed.
#[derive(Clone)]
pub struct Token(blake3::Hash);

impl Token {
    /// A token without the white space round it; `None` when nothing is left, since an empty token would open the door, and
    /// when a character is in it that no header can carry, such as the end of a line: nobody could ever send it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')))
            .then(|| Self(blake3::hash(text.as_bytes())))
    }

    /// Whether `given` is this token. Two hashes are compared in constant time, and are of one length whatever was sent.
    fn is(&self, given: &str) -> bool {
        self.0 == blake3::hash(given.as_bytes())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Who is shown more than `status`, with the token at hand.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody who can connect.
    Always,
    /// Nobody.
    Never,
    /// Whoever sends this bearer token.
    Token(Token),
}

impl Access {
    /// Whether a request with these headers is shown details.
    pub(super) fn allows(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Token(token) => bearer(headers).is_some_and(|given| token.is(given)),
        }
    }
}

/// The token of `Authorization: Bearer …`, whose scheme is case-insensitive.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(access: &Access, header: Option<&str>) -> bool {
        let headers = header.map(|text| (AUTHORIZATION, text.parse().unwrap()));
        access.allows(&headers.into_iter().collect())
    }

    #[test]
    fn only_the_right_token_opens() {
        let access = Access::Token(Token::new(" s3cret\n").unwrap());
        for right in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "] {
            assert!(allowed(&access, Some(right)), "{right}");
        }
        for wrong in ["s3cret", "Basic s3cret", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crett", "Bearer S3CRET"]
        {
            assert!(!allowed(&access, Some(wrong)), "{wrong}");
        }
        assert!(!allowed(&access, None));
        assert!(allowed(&Access::Always, None) && !allowed(&Access::Never, Some("Bearer s3cret")));
    }

    #[test]
    fn a_token_is_never_empty_and_never_printed() {
        for unusable in [" \n", "one\ntwo", "one\u{7f}", "s\u{e9}cret"] {
            assert!(Token::new(unusable).is_none(), "{unusable:?}");
        }
        assert!(Token::new(" s3cret\r\n").is_some_and(|token| token.is("s3cret")));
        assert!(!format!("{:?}", Access::Token(Token::new("s3cret").unwrap())).contains("s3cret"));
    }
}
