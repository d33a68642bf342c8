//! tonic: an error is a status, with the time of the next try in it.

use crate::{Error, Failure};
use std::time::Duration;
use tonic::{Code, Status};

/// `UNAVAILABLE` for what another moment may cure, with a `google.rpc.RetryInfo` where a retry helps. Logs the error.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let failure = Failure::from(&error);
        failure.log(&error);
        failure.into()
    }
}

/// The code that stands for the failure's HTTP status, with a `google.rpc.RetryInfo` where a retry helps. Logs nothing.
impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let code = code(failure.status());
        let message = failure.message();
        match failure.retry_after() {
            Some(delay) => Self::with_details(code, message, details(code, message, delay).into()),
            None => Self::new(code, message),
        }
    }
}

/// As `google.rpc.Code` says which is which.
fn code(status: u16) -> Code {
    match status {
        400 | 422 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::Aborted,
        429 => Code::ResourceExhausted,
        501 => Code::Unimplemented,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        400..=499 => Code::FailedPrecondition,
        _ => Code::Internal,
    }
}

/// A `google.rpc.Status` with one `RetryInfo`, as protobuf: four short messages, for which we take no code generator along.
fn details(code: Code, message: &str, delay: Duration) -> Vec<u8> {
    let duration = [number(1, delay.as_secs()), number(2, delay.subsec_nanos().into())].concat();
    let retry_info = bytes(1, &duration);
    let any = [bytes(1, b"type.googleapis.com/google.rpc.RetryInfo"), bytes(2, &retry_info)].concat();
    [number(1, code as u64), bytes(2, message.as_bytes()), bytes(3, &any)].concat()
}

fn number(field: u8, value: u64) -> Vec<u8> {
    [vec![field << 3], varint(value)].concat()
}

fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2], &*varint(value.len() as u64), value].concat()
}

/// Seven bits a byte, the lowest first.
fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_what_a_protobuf_library_writes() {
        // By Python's googleapis-common-protos, of Status(14, "m", [RetryInfo(300 s, 500000000 ns)]).
        let expected = b"\x08\x0e\x12\x01m\x1a\x37\n\x28type.googleapis.com/google.rpc.RetryInfo\x12\x0b\n\x09\x08\xac\x02\x10\x80\xca\xb5\xee\x01";
        assert_eq!(details(Code::Unavailable, "m", Duration::from_millis(300_500)), expected);
    }
}
