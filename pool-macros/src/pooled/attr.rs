//! The options of `#[pooled(..)]`.

use crate::{
    duration,
    fault::Faults,
    option::{self, Spec},
};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Expr, LitStr, Path, Type, parse::ParseStream};

/// What the parentheses say.
#[derive(Default)]
pub(crate) struct Options {
    /// Key type of the pool.
    pub(crate) pool: Option<Type>,
    /// Where the pool is, instead of an argument.
    pub(crate) from: Option<Expr>,
    /// Root of the generated paths.
    root: Option<Path>,
    /// What is told to the run time, in the order given.
    pub(crate) settings: Vec<Setting>,
}

/// One builder call on the function's `Call`: `.timeout(Duration::new(2, 0))`.
pub(crate) struct Setting {
    /// Also the method's name; it carries the user's span.
    pub(crate) key: Ident,
    pub(crate) value: TokenStream,
}

const KNOWN: &[Spec] = &[
    Spec { name: "timeout", example: "timeout = \"2s\"" },
    Spec { name: "retry_after", example: "retry_after = \"1s\"" },
    Spec { name: "pool", example: "pool = Replica" },
    Spec { name: "from", example: "from = self.db" },
    Spec { name: "crate", example: "crate = pool_sqlx" },
];

impl Options {
    /// Reads the attribute's tokens. What could not be read is left out.
    pub(crate) fn parse(args: TokenStream, faults: &mut Faults) -> Self {
        let mut options = Self::default();
        option::each(args, KNOWN, hint, faults, |key, input, faults| options.take(key, input, faults));
        if let (Some(pool), Some(_)) = (&options.pool, &options.from) {
            faults.at(pool, "`from` names the pool already; drop `pool`");
        }
        options
    }

    /// The root of the generated paths, at a place of the user's code.
    pub(crate) fn root(&self, span: Span) -> TokenStream {
        match &self.root {
            Some(path) => super::expand::located(quote!(#path), span),
            None => quote_spanned!(span=> ::pool_sqlx),
        }
    }

    fn take(&mut self, key: &Ident, input: ParseStream<'_>, faults: &mut Faults) -> syn::Result<()> {
        match key.to_string().as_str() {
            "pool" if input.peek(LitStr) => {
                let text: LitStr = input.parse()?;
                faults.at(text, "`pool` takes the key type of the pool; write `pool = Replica`, without quotes");
            }
            "pool" => self.pool = Some(input.parse()?),
            "from" => self.from = Some(input.parse()?),
            "crate" => self.root = Some(input.call(Path::parse_mod_style)?),
            _ => {
                if let Some(value) = duration::read(&input.parse()?, faults) {
                    self.set(key, value);
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &Ident, value: TokenStream) {
        self.settings.push(Setting { key: key.clone(), value });
    }
}

/// Words that others use for what we call otherwise.
fn hint(name: &str) -> Option<String> {
    Some(match name {
        "tx" | "txn" | "transaction" => {
            format!("there is no option `{name}`: the type decides; take `tx: &mut PgTx` and it commits on success")
        }
        "pool_timeout" | "acquire_timeout" => format!("unknown option `{name}`; did you mean `timeout`?"),
        "key" | "db" | "database" => format!("unknown option `{name}`; did you mean `pool`?"),
        _ => return None,
    })
}
