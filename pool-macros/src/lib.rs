//! The macros of `pool-sqlx`, which exports them.

mod duration;
mod fault;
mod option;
mod pooled;
mod pools;

use proc_macro::TokenStream;

/// Lends the function a connection.
#[proc_macro_attribute]
pub fn pooled(args: TokenStream, item: TokenStream) -> TokenStream {
    pooled::expand(args.into(), item.into()).into()
}

/// Connects, closes and shows several pools as one.
#[proc_macro_derive(Pools, attributes(pools, pool))]
pub fn pools(item: TokenStream) -> TokenStream {
    pools::expand(item.into()).into()
}
