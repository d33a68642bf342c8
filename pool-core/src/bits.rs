//! Numbers out of tokio's identifiers, so that the state need not know them.

/// The number inside an identifier that only offers `Hash`.
pub(crate) fn bits(id: impl std::hash::Hash) -> u64 {
    struct Bits(u64);
    impl std::hash::Hasher for Bits {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
        }
    }
    let mut hasher = Bits(0);
    id.hash(&mut hasher);
    std::hash::Hasher::finish(&hasher)
}
