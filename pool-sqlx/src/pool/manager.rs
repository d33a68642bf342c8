//! How the pool opens, tests, cleans and closes connections of sqlx.

use crate::{
    DatabaseSettings, Error, Pooler,
    backend::{Backend, Options, dial::dial},
    config::Plan,
    error::error_type,
    session::{Control, Familiar, Limits, Link, Return, Rules, Tally, Track},
    words::Class,
};
use futures_core::future::BoxFuture;
use pool_core::{Condition, ErrorClass, Manager};
use sqlx::{Connection, pool::PoolConnectionMetadata};
use std::sync::{Arc, PoisonError};
use tokio::sync::{Mutex, OnceCell, watch};

/// The manager of [`Pool`](crate::Pool).
pub(crate) struct Sqlx<DB: Backend> {
    pub(super) options: Options<DB>,
    pub(super) settings: Arc<DatabaseSettings>,
    /// Keeps a memory database alive; never lent, never used.
    anchor: Mutex<Option<DB::Connection>>,
    /// Ends what nobody waits for any more.
    control: Arc<Control<DB>>,
    /// A connect has proved that statements are kept apart. One at a time tries, for it may take a second connection, and the others wait.
    unmixed: Arc<OnceCell<()>>,
    /// What is counted here, for those who watch.
    tally: Arc<Tally>,
    /// Whether the pool is being closed: listeners end then.
    closing: watch::Sender<bool>,
    /// Runs once, when the first connection is open.
    first_connect: std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl<DB: Backend> Sqlx<DB> {
    pub(crate) fn new(plan: Plan<Options<DB>>) -> Self {
        let (settings, options) = plan.into_parts();
        Self {
            control: Arc::new(Control::new(Arc::clone(&settings), options.clone())),
            tally: Arc::new(Tally::new(settings.pool.name.clone(), DB::place(&options), DB::SYSTEM)),
            options,
            settings,
            anchor: Mutex::new(None),
            unmixed: Arc::default(),
            closing: watch::Sender::new(false),
            first_connect: std::sync::Mutex::default(),
        }
    }

    pub(crate) fn settings(&self) -> &DatabaseSettings {
        &self.settings
    }

    pub(crate) fn options(&self) -> &Options<DB> {
        &self.options
    }

    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Whether sqlx's own connection may be handed out.
    pub(crate) fn allow_raw(&self) -> Result<(), Error> {
        allow_raw(&self.settings)
    }

    /// What a connection of sqlx's own pool needs before it is used.
    pub(crate) fn after_connect(
        &self,
    ) -> impl for<'c> Fn(&'c mut DB::Connection, PoolConnectionMetadata) -> BoxFuture<'c, Result<(), sqlx::Error>>
    + Send
    + Sync
    + 'static {
        let (settings, options) = (Arc::clone(&self.settings), self.options.clone());
        let (unmixed, tally) = (Arc::clone(&self.unmixed), Arc::clone(&self.tally));
        move |conn, _| {
            let (settings, options) = (Arc::clone(&settings), options.clone());
            let (unmixed, tally) = (Arc::clone(&unmixed), Arc::clone(&tally));
            Box::pin(async move {
                let state = DB::on_connect(conn, &settings).await?;
                refuse_mixing::<DB>(conn, &state, &settings, &options, &unmixed, &tally).await
            })
        }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Runs `then` once, when the first connection is open and before it is lent.
    pub(crate) fn at_first_connect(&self, then: impl FnOnce() + Send + 'static) {
        *self.first_connect.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(then));
    }

    /// The pool has got other settings.
    pub(crate) fn reconfigured(&self, settings: &pool_core::Settings) {
        self.control.set_reset_timeout(settings.reset_timeout);
    }

    /// Ends what lives beside the pool.
    pub(crate) fn close_aside(&self) {
        self.closing.send_replace(true);
    }

    fn limits(&self, state: &DB::State) -> Limits {
        let DatabaseSettings { statement_timeout, statement_timeout_status, .. } = *self.settings;
        let kept_by = DB::keeper(&self.settings, state);
        Limits { statement_timeout, statement_timeout_status, kept_by, told: None }
    }

    /// The options for a connect that begins now.
    pub(crate) async fn fresh(&self, options: &Options<DB>) -> Result<Options<DB>, sqlx::Error> {
        let Some(before_connect) = &self.settings.before_connect else { return Ok(options.clone()) };
        let password = before_connect.password().await?;
        Ok(DB::with_password(options, password.expose()).unwrap_or_else(|| options.clone()))
    }

    async fn dial(&self) -> Result<Link<DB>, sqlx::Error> {
        self.ensure_anchor().await?;
        let options = self.fresh(&self.options).await?;
        let mut raw = dial::<DB>(&options).await?;
        self.control.known(&options);
        let state = DB::on_connect(&mut raw, &self.settings).await?;
        self.tally.set_system(DB::system(&state));
        refuse_mixing::<DB>(&mut raw, &state, &self.settings, &options, &self.unmixed, &self.tally).await?;
        // What stands in between has limits of its own, which those of the server say nothing of.
        if self.settings.pooler == Pooler::Direct && !DB::is_swallowed(&state) && self.tally.wants_server() {
            // What cannot be asked gives no advice.
            if let Ok(Some(server)) = DB::limits_of(&mut raw).await {
                self.tally.set_server(server);
            }
        }
        let limits = self.limits(&state);
        Ok(Link {
            raw,
            state,
            track: Track::new(Rules::of::<DB>(&self.settings)),
            familiar: Familiar::default(),
            control: Arc::clone(&self.control),
            limits,
            settings: Arc::clone(&self.settings),
            tally: Arc::clone(&self.tally),
        })
    }

    pub(super) async fn ensure_anchor(&self) -> Result<(), sqlx::Error> {
        if DB::is_volatile(&self.settings) {
            let mut anchor = self.anchor.lock().await;
            if anchor.is_none() {
                *anchor = Some(dial::<DB>(&self.options).await?);
            }
        }
        Ok(())
    }
}

/// Refuses a pooler that the settings do not name, or name wrongly: it would answer with the rows of others.
async fn refuse_mixing<DB: Backend>(
    raw: &mut DB::Connection,
    state: &DB::State,
    settings: &DatabaseSettings,
    options: &Options<DB>,
    unmixed: &OnceCell<()>,
    tally: &Tally,
) -> Result<(), sqlx::Error> {
    let name = &settings.pool.name;
    if DB::is_swallowed(state) {
        if settings.explicit("pooler").is_none() {
            return Err(refused(
                "refused: the server did not get our start-up options, so a pooler stands in between, which would mix prepared \
                 statements up and answer with the rows of others; set pooler = \"unprepared\", or \"prepared\" if it keeps \
                 prepared statements apart (\"direct\" if it pools sessions, not transactions)",
            ));
        }
        if tally.swallowed() {
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
    Ok(())
}

/// For good: another attempt would end the same way.
pub(super) fn refused(why: &str) -> sqlx::Error {
    sqlx::Error::Configuration(Error::pooler(why).into())
}

/// Whether sqlx's own connection may be handed out.
pub(crate) fn allow_raw(settings: &DatabaseSettings) -> Result<(), Error> {
    match settings.pooler {
        Pooler::Direct | Pooler::Prepared => Ok(()),
        Pooler::Unprepared => Err(Error::pooler(
            "refused: sqlx's own connection would return wrong rows with pooler = \"unprepared\"; run statements on the \
             pool's &mut PgConn or &mut PgTx, or use a pooler that keeps prepared statements (pooler = \"prepared\")",
        )),
    }
}

/// A connect under way. Dropped, it was given up for want of time.
struct Attempt<'a> {
    tally: &'a Tally,
    closing: &'a watch::Sender<bool>,
}

impl Attempt<'_> {
    fn ended(self, error: Option<&sqlx::Error>) {
        if let Some(error) = error {
            self.tally.connect_failed(&error_type(error));
            self.tally.note(error);
        }
        std::mem::forget(self);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !*self.closing.borrow() {
            self.tally.connect_failed("connect_timeout");
        }
    }
}

impl<DB: Backend> Manager for Sqlx<DB> {
    type Conn = Link<DB>;
    type Error = sqlx::Error;

    async fn connect(&self) -> Result<Link<DB>, sqlx::Error> {
        let attempt = Attempt { tally: &self.tally, closing: &self.closing };
        let link = self.dial().await;
        attempt.ended(link.as_ref().err());
        if link.is_ok() {
            // Taken out of the lock first: `then` may log, and a subscriber may do anything.
            let then = self.first_connect.lock().unwrap_or_else(PoisonError::into_inner).take();
            then.into_iter().for_each(|then| then());
        }
        link
    }

    async fn ping(&self, link: &mut Link<DB>) -> Result<(), sqlx::Error> {
        link.raw.ping().await
    }

    async fn reset(&self, link: &mut Link<DB>) -> Result<(), sqlx::Error> {
        let unseen = link.track.has_unseen();
        link.clean().await.map_err(|error| match Class::of(&error) {
            // A server ends a connection that speaks out of turn, as after a COPY that was dropped: no reason to give others up.
            Class::Lost if unseen => sqlx::Error::Protocol(format!("the connection was lost: {error}")),
            _ => error,
        })
    }

    async fn close(&self, link: Link<DB>) {
        link.close().await;
    }

    fn condition(&self, link: &mut Link<DB>) -> Condition {
        // A loan may have had limits of its own.
        link.limits = self.limits(&link.state);
        match link.track.on_return() {
            Return::Keep => Condition::Clean,
            Return::Clean => Condition::Dirty,
            Return::Lost => Condition::Broken,
        }
    }

    fn classify(&self, error: &sqlx::Error) -> ErrorClass {
        match Class::of(error) {
            Class::Lost => ErrorClass::Lost,
            Class::Overloaded | Class::StartingUp | Class::LockTimeout => ErrorClass::Transient,
            Class::Denied => ErrorClass::Permanent,
            _ => ErrorClass::Other,
        }
    }
}
