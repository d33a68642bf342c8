//! Testing without a database.
