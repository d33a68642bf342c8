//! A proxy that makes the network fail.
