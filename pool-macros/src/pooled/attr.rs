//! The options of `#[pooled(..)]`.

use crate::{
    duration,
    fault::Faults,
    names::{self, camel},
    option::{self, Spec},
};
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::{Expr, ExprLit, Lit, LitStr, Path, Type, parse::ParseStream};

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
    /// How often the body may run again.
    pub(crate) retry: Option<Retry>,
    /// The options given that make sense for a transaction only.
    pub(crate) of_transactions: Vec<Ident>,
}

/// `retry = 2`.
pub(crate) struct Retry {
    pub(crate) key: Ident,
    pub(crate) times: u32,
}

/// One builder call on the function's `Call`: `.timeout(Duration::new(2, 0))`.
pub(crate) struct Setting {
    /// Also the method's name; it carries the user's span.
    pub(crate) key: Ident,
    pub(crate) value: Value,
}

/// What a builder call is given.
pub(crate) enum Value {
    Tokens(TokenStream),
    /// A level's name; its path needs the root, which may be given later in the list.
    Isolation(Ident),
}

const KNOWN: &[Spec] = &[
    Spec { name: "timeout", example: "timeout = \"2s\"" },
    Spec { name: "retry_after", example: "retry_after = \"1s\"" },
    Spec { name: "pool", example: "pool = Replica" },
    Spec { name: "from", example: "from = self.db" },
    Spec { name: "statement_timeout", example: "statement_timeout = \"500ms\"" },
    Spec { name: "limit", example: "limit = 5" },
    Spec { name: "read_only", example: "read_only" },
    Spec { name: "isolation", example: "isolation = \"serializable\"" },
    Spec { name: "retry", example: "retry = 2" },
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

    /// The root of the generated paths, shown at this place.
    pub(crate) fn root(&self, span: Span) -> TokenStream {
        names::root(self.root.as_ref(), span)
    }

    fn take(&mut self, key: &Ident, input: ParseStream<'_>, faults: &mut Faults) -> syn::Result<()> {
        match key.to_string().as_str() {
            "pool" if input.peek(LitStr) => {
                let text: LitStr = input.parse()?;
                faults.at(text, "`pool` takes the key type of the pool; write `pool = Replica`, without quotes");
            }
            "pool" => {
                let key: Type = input.parse()?;
                match variable(&key) {
                    Some(name) => faults.at(
                        name,
                        format!(
                            "`pool` takes the key type of the pool, as in `PgPool<{0}>`; write `pool = {0}`",
                            camel(name)
                        ),
                    ),
                    None => self.pool = Some(key),
                }
            }
            "from" => self.from = Some(input.parse()?),
            "crate" => self.root = Some(input.call(Path::parse_mod_style)?),
            "limit" => {
                if let Some(limit) = count(input, faults)? {
                    self.set(key, quote!(#limit));
                }
            }
            "read_only" => {
                self.of_transactions.push(key.clone());
                self.set(key, TokenStream::new());
            }
            "isolation" => {
                self.of_transactions.push(key.clone());
                if let Some(level) = isolation(&input.parse()?, faults) {
                    self.settings.push(Setting { key: key.clone(), value: Value::Isolation(level) });
                }
            }
            "retry" => {
                self.of_transactions.push(key.clone());
                self.retry = count(input, faults)?.map(|times| Retry { key: key.clone(), times });
            }
            _ => {
                if let Some(value) = duration::read(&input.parse()?, faults) {
                    self.set(key, value);
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &Ident, value: TokenStream) {
        self.settings.push(Setting { key: key.clone(), value: Value::Tokens(value) });
    }
}

/// A name that is a field's, or a variable's, rather than a type's.
fn variable(key: &Type) -> Option<&Ident> {
    let Type::Path(path) = key else { return None };
    let primitives = [
        "bool", "char", "str", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize",
        "f32", "f64",
    ];
    path.path.get_ident().filter(|name| {
        let name = name.to_string();
        name.starts_with(char::is_lowercase) && !primitives.contains(&name.as_str())
    })
}

/// A whole number from 1. `None` after a fault.
fn count(input: ParseStream<'_>, faults: &mut Faults) -> syn::Result<Option<u32>> {
    let value: Expr = input.parse()?;
    let number = match &value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse().ok(),
        _ => None,
    };
    if number.is_none_or(|number| number == 0) {
        faults.at(&value, "write a whole number from 1");
        return Ok(None);
    }
    Ok(number)
}

/// The level's name at run time. `None` after a fault.
fn isolation(value: &Expr, faults: &mut Faults) -> Option<Ident> {
    let text = match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => text.value(),
        _ => String::new(),
    };
    let level = match text.as_str() {
        "read committed" => "ReadCommitted",
        "repeatable read" => "RepeatableRead",
        "serializable" => "Serializable",
        _ => {
            faults.at(value, "not a level; write \"read committed\", \"repeatable read\" or \"serializable\"");
            return None;
        }
    };
    Some(Ident::new(level, Span::mixed_site()))
}

/// Words that others use for what we call otherwise.
fn hint(name: &str) -> Option<String> {
    Some(match name {
        "tx" | "txn" | "transaction" => {
            format!("there is no option `{name}`: the type decides; take `tx: &mut PgTx` and it commits on success")
        }
        "pool_timeout" | "acquire_timeout" => format!("unknown option `{name}`; did you mean `timeout`?"),
        "key" | "db" | "database" => format!("unknown option `{name}`; did you mean `pool`?"),
        name if name.starts_with(char::is_uppercase) => format!(
            "the pool is found by the type of the connection argument; if `{name}` is the key of one, write `pool = {name}`"
        ),
        _ => return None,
    })
}
