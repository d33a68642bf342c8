//! Just enough of PostgreSQL's frontend protocol to count what a client asks.

/// What one connection's client has said, read in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Frontend {
    pending: Vec<u8>,
    has_started: bool,
    is_foreign: bool,
}

/// What a piece added.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Types of messages, in order.
    pub(super) messages: Vec<u8>,
    pub(super) cancels: u64,
}

impl Seen {
    /// Sync and simple Query: what the server answers with ReadyForQuery.
    pub(super) fn round_trips(&self) -> u64 {
        self.messages.iter().filter(|kind| matches!(kind, b'S' | b'Q')).count() as u64
    }
}

const SSL_REQUEST: u32 = 80877103;
const GSS_REQUEST: u32 = 80877104;
const CANCEL_REQUEST: u32 = 80877102;
const VERSION_3: u32 = 3 << 16;

impl Frontend {
    pub(super) fn read(&mut self, bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        if self.is_foreign {
            return seen;
        }
        self.pending.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(size) = self.next(&self.pending[at..]) {
            if self.has_started {
                seen.messages.push(self.pending[at]);
            } else {
                match number(&self.pending[at + 4..]) {
                    Some(SSL_REQUEST | GSS_REQUEST) => {}
                    Some(CANCEL_REQUEST) => seen.cancels += 1,
                    // Minor versions differ in what they may ask, not in shape.
                    Some(version) if version & !0xffff == VERSION_3 => self.has_started = true,
                    _ => {
                        // Another protocol, or TLS: nothing to count.
                        self.is_foreign = true;
                        self.pending.clear();
                        return seen;
                    }
                }
            }
            at += size;
        }
        self.pending.drain(..at);
        seen
    }

    /// Size of the message at the start, if all of it is here. Only start-up messages have no type before their length.
    fn next(&self, bytes: &[u8]) -> Option<usize> {
        let (kind, least) = if self.has_started { (1, 4) } else { (0, 8) };
        let length = (number(bytes.get(kind..)?)? as usize).max(least);
        (bytes.len() >= kind + length).then_some(kind + length)
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_up(code: u32, rest: &[u8]) -> Vec<u8> {
        let length = 8 + u32::try_from(rest.len()).unwrap();
        [&length.to_be_bytes(), &code.to_be_bytes(), rest].concat()
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = 4 + u32::try_from(body.len()).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn conversation() -> Vec<u8> {
        [
            start_up(SSL_REQUEST, b""),
            start_up(VERSION_3, b"user\0postgres\0\0"),
            message(b'P', b"\0select 1\0\0\0"),
            message(b'B', b"\0\0"),
            message(b'S', b""),
            message(b'Q', b"SSSQQ\0"),
        ]
        .concat()
    }

    #[test]
    fn messages_are_counted_however_the_bytes_are_cut() {
        for size in 1..conversation().len() {
            let mut frontend = Frontend::default();
            let mut all = Seen::default();
            for piece in conversation().chunks(size) {
                all.messages.extend(frontend.read(piece).messages);
            }
            assert_eq!((all.messages.as_slice(), all.round_trips()), (&b"PBSQ"[..], 2), "in pieces of {size}");
        }
    }

    #[test]
    fn cancel_request_is_counted_apart() {
        let seen = Frontend::default().read(&start_up(CANCEL_REQUEST, b"\0\0\0\x01\0\0\0\x02"));
        assert_eq!(seen, Seen { messages: vec![], cancels: 1 });
    }

    #[test]
    fn other_protocols_count_nothing() {
        let mut frontend = Frontend::default();
        assert_eq!(frontend.read(b"\0\0\0\x10hello there all"), Seen::default());
        assert_eq!(frontend.read(&conversation()), Seen::default());
    }
}
