//! Which connections the pool lets in, and when it lets sqlx's own out.

use crate::{
    DatabaseSettings, Error,
    backend::{Backend, Options},
    session::Tally,
};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// What each new connection passes, one of the pool's or of a pool of sqlx's own.
pub(super) struct Door {
    settings: Arc<DatabaseSettings>,
    /// A connect has proved that statements are kept apart. One at a time tries, for it may take a second connection, and the others wait.
    unmixed: OnceCell<()>,
    tally: Arc<Tally>,
}

impl Door {
    pub(super) fn new(settings: Arc<DatabaseSettings>, tally: Arc<Tally>) -> Self {
        Self { settings, unmixed: OnceCell::new(), tally }
    }

    /// Makes a connection ready for use. Refuses a pooler that the settings do not name, or name wrongly: it would answer with the rows of
    /// others.
    pub(super) async fn admit<DB: Backend>(
        &self,
        raw: &mut DB::Connection,
        options: &Options<DB>,
    ) -> Result<DB::State, sqlx::Error> {
        let Self { settings, unmixed, tally } = self;
        let state = DB::on_connect(raw, settings).await?;
        if DB::is_swallowed(&state) {
            if settings.explicit("pooler").is_none() {
                return Err(refused(
                    "refused: the server did not get our start-up options, so a pooler stands in between, which would mix prepared \
                     statements up and answer with the rows of others; set pooler = \"unprepared\", or \"prepared\" if it keeps \
                     prepared statements apart (\"direct\" if it pools sessions, not transactions)",
                ));
            }
            if tally.swallowed() {
                let name = &settings.pool.name;
                tracing::warn!(
                    target: "pool",
                    "pool {name}: the server did not get our start-up options; is there a pooler in between? one that pools \
                     transactions mixes statements up with pooler = \"direct\"; limits are kept by the client, and nothing is cancelled \
                     on the server"
                );
            }
        }
        let prove = async {
            if DB::mixes_statements(raw, settings, options).await? {
                return Err(refused(
                    "refused: with pooler = \"prepared\" what stands before the server passes our names of prepared statements on as they \
                     are, and would answer with the rows of others; give PgBouncer (1.21 or later) max_prepared_statements, or set \
                     pooler = \"unprepared\"",
                ));
            }
            Ok(())
        };
        unmixed.get_or_try_init(|| prove).await?;
        Ok(state)
    }
}

/// For good: another attempt would end the same way.
pub(super) fn refused(why: &str) -> sqlx::Error {
    sqlx::Error::Configuration(Error::pooler(why).into())
}
