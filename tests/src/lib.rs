//! Shared tools of the cross-crate tests.
