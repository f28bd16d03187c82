//! What the head of an answer says of an object (RFC 9110: 8.8 validators, 14.4 Content-Range).

use hyper::header::{CONTENT_RANGE, ETAG, HeaderName, LAST_MODIFIED};
use hyper::{HeaderMap, StatusCode};
use witvirt_disk::ErrorKind;

use crate::failure::{Attempt, Failure};

/// What is known of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) size: Option<u64>,
    pub(crate) ranges: bool,
    etag: Option<String>,
    modified: Option<String>,
}

/// `bytes FIRST-LAST/TOTAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) total: Option<u64>,
}

impl Facts {
    /// From the answer to a request for the first byte; `length` is what its body is said to have. `None` where the answer
    /// leaves open what the object is.
    pub(crate) fn of_probe(status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> Option<Self> {
        let facts = Self { size: None, ranges: false, ..Self::validators(headers) };
        match status {
            StatusCode::OK => Some(Self { size: length, ..facts }),
            StatusCode::PARTIAL_CONTENT => {
                let range = ContentRange::of(headers)?;
                let honest = range.first == 0 && range.last == 0 && length.is_none_or(|length| length == 1);
                let size = range.total.filter(|total| *total > 0 && honest)?;
                Some(Self { size: Some(size), ranges: true, ..facts })
            }
            // No byte is the first of nothing. Nothing will ever be asked for.
            StatusCode::RANGE_NOT_SATISFIABLE if unsatisfied(headers) == Some(0) => {
                Some(Self { size: Some(0), ranges: true, ..facts })
            }
            _ => None,
        }
    }

    /// From the answer to a request for everything.
    pub(crate) fn of_whole(headers: &HeaderMap, length: Option<u64>) -> Self {
        Self { size: length, ranges: false, ..Self::validators(headers) }
    }

    fn validators(headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| {
            let text = headers.get(name)?.to_str().ok()?;
            (!text.is_empty() && text.len() <= 256).then(|| text.to_owned())
        };
        Self { size: None, ranges: false, etag: text(ETAG), modified: text(LAST_MODIFIED) }
    }

    /// The entity tag, where equal ones mean equal bytes.
    pub(crate) fn strong_etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|tag| !tag.starts_with("W/"))
    }

    /// What changes when the bytes do.
    pub(crate) fn version(&self) -> Option<String> {
        let etag = self.strong_etag().map(|tag| format!("etag:{tag}"));
        etag.or_else(|| self.modified.as_ref().map(|date| format!("modified:{date}")))
    }

    /// Compares the validators of a later answer with these.
    pub(crate) fn check_same(&self, headers: &HeaderMap) -> Attempt<()> {
        let now = Self::validators(headers);
        let differs = |before: &Option<String>, now: &Option<String>| match (before, now) {
            (Some(before), Some(now)) => before != now,
            _ => false,
        };
        let changed = if self.strong_etag().is_some() && now.etag.is_some() {
            differs(&self.etag, &now.etag)
        } else {
            differs(&self.etag, &now.etag) || differs(&self.modified, &now.modified)
        };
        if changed { Err(changed_failure()) } else { Ok(()) }
    }

    /// Checks the head of an answer to a request for the bytes from `first` to `last`; gives how many follow.
    pub(crate) fn check_partial(&self, headers: &HeaderMap, first: u64, last: u64) -> Attempt<u64> {
        let corrupt = |message: String| Failure::lasting(ErrorKind::Corrupt, message);
        let Some(range) = ContentRange::of(headers) else {
            return Err(corrupt("a part without a usable Content-Range".to_owned()));
        };
        if let (Some(total), Some(size)) = (range.total, self.size)
            && total != size
        {
            return Err(changed_failure().during(format!("{total} bytes instead of {size}")));
        }
        if range.first != first || range.last > last {
            let message = format!(
                "the server sends bytes {} to {} where {first} to {last} were asked for",
                range.first, range.last
            );
            return Err(corrupt(message));
        }
        Ok(range.last - range.first + 1)
    }
}

impl ContentRange {
    fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get(CONTENT_RANGE)?.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let total = if total == "*" { None } else { Some(number(total)?) };
        (first <= last && last < total.unwrap_or(u64::MAX)).then_some(Self { first, last, total })
    }
}

/// The size in `bytes */SIZE`.
fn unsatisfied(headers: &HeaderMap) -> Option<u64> {
    number(headers.get(CONTENT_RANGE)?.to_str().ok()?.trim().strip_prefix("bytes */")?)
}

/// Digits alone: `u64::from_str` takes a "+" too.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The object is another one by now.
pub(crate) fn changed_failure() -> Failure {
    Failure::lasting(ErrorKind::Changed, "the object on the server is another one by now: begin again")
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};
    use hyper::{HeaderMap, StatusCode};
    use witvirt_disk::ErrorKind;

    use super::{ContentRange, Facts};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn content_ranges() {
        let range = |first, last, total| Some(ContentRange { first, last, total });
        for (text, wanted) in [
            ("bytes 0-0/10", range(0, 0, Some(10))),
            ("bytes 5-9/*", range(5, 9, None)),
            ("bytes 5-9/9", None),
            ("bytes 9-5/10", None),
            ("bytes 0-+1/10", None),
            ("bytes 0-18446744073709551616/*", None),
            ("bytes */10", None),
            ("items 0-0/10", None),
            ("bytes -1/10", None),
            ("", None),
        ] {
            assert_eq!(ContentRange::parse(text), wanted, "{text}");
        }
    }

    #[test]
    fn ranges_are_believed_in_when_the_answer_is_right() {
        let probe = |status: u16, pairs: &[_], length| {
            Facts::of_probe(StatusCode::from_u16(status).unwrap(), &headers(pairs), length)
        };
        let good = probe(206, &[("content-range", "bytes 0-0/10"), ("etag", "\"a\"")], Some(1)).unwrap();
        assert_eq!((good.size, good.ranges), (Some(10), true));
        assert_eq!(good.version().unwrap(), "etag:\"a\"");
        let whole = probe(200, &[("accept-ranges", "bytes"), ("last-modified", "now")], Some(10)).unwrap();
        assert_eq!((whole.size, whole.ranges), (Some(10), false));
        assert_eq!(whole.version().unwrap(), "modified:now");
        let nothing = probe(416, &[("content-range", "bytes */0")], Some(0)).unwrap();
        assert_eq!((nothing.size, nothing.ranges), (Some(0), true));
        assert_eq!(probe(200, &[("etag", "W/\"a\"")], None).unwrap().version(), None);
        for lie in ["bytes 0-1/10", "bytes 1-1/10", "bytes 0-0/*", "bytes 0-0/0", "0-0/10"] {
            assert_eq!(probe(206, &[("content-range", lie)], Some(1)), None, "{lie}");
        }
        assert_eq!(probe(206, &[("content-range", "bytes 0-0/10")], Some(10)), None);
        assert_eq!(probe(416, &[("content-range", "bytes */10")], None), None);
        assert_eq!(probe(404, &[], None), None);
    }

    #[test]
    fn changes_are_noticed() {
        let probed =
            |pairs: &[_]| Facts { size: Some(10), ranges: true, ..Facts::of_whole(&headers(pairs), None) };
        let tagged = probed(&[("etag", "\"a\""), ("last-modified", "then")]);
        assert!(tagged.check_same(&headers(&[("etag", "\"a\""), ("last-modified", "now")])).is_ok());
        assert!(tagged.check_same(&headers(&[])).is_ok());
        assert!(tagged.check_same(&headers(&[("etag", "\"b\"")])).is_err());
        let dated = probed(&[("etag", "W/\"a\""), ("last-modified", "then")]);
        assert!(dated.check_same(&headers(&[("etag", "W/\"a\""), ("last-modified", "now")])).is_err());
        let part = |text: &str, first, last| {
            let checked = tagged.check_partial(&headers(&[("content-range", text)]), first, last);
            checked.map_err(|failure| failure.error.kind())
        };
        assert_eq!(part("bytes 2-5/10", 2, 5), Ok(4));
        assert_eq!(part("bytes 2-4/10", 2, 5), Ok(3));
        assert_eq!(part("bytes 2-5/11", 2, 5), Err(ErrorKind::Changed));
        assert_eq!(part("bytes 3-5/10", 2, 5), Err(ErrorKind::Corrupt));
        assert_eq!(part("bytes 2-6/10", 2, 5), Err(ErrorKind::Corrupt));
        assert_eq!(part("bytes 2-5", 2, 5), Err(ErrorKind::Corrupt));
    }
}
