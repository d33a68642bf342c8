//! How the pool opens, tests, cleans and closes connections of sqlx.

use super::door::Door;
use crate::{
    DatabaseSettings, Pooler,
    backend::{Backend, Options, dial::dial},
    config::Plan,
    error::error_type,
    session::{Control, Familiar, Limits, Return, Rules, Session, Tally, Track},
    words::Class,
};
use pool_core::{Condition, ErrorClass, Manager};
use sqlx::Connection;
use std::sync::{Arc, PoisonError};
use tokio::sync::{Mutex, watch};

/// The manager of [`Pool`](crate::Pool).
pub(crate) struct Sqlx<DB: Backend> {
    pub(super) options: Options<DB>,
    pub(super) settings: Arc<DatabaseSettings>,
    /// Keeps a memory database alive; never lent, never used.
    anchor: Mutex<Option<DB::Connection>>,
    /// Ends what nobody waits for any more.
    control: Arc<Control<DB>>,
    pub(super) door: Arc<Door>,
    /// What is counted here, for those who watch.
    tally: Arc<Tally>,
    /// Whether the pool is being closed: listeners end then.
    pub(super) closing: watch::Sender<bool>,
    /// Runs once, when the first connection is open.
    first_connect: std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl<DB: Backend> Sqlx<DB> {
    pub(crate) fn new(plan: Plan<Options<DB>>) -> Self {
        let (settings, options) = plan.into_parts();
        let tally = Arc::new(Tally::new(settings.pool.name.clone(), DB::place(&options), DB::SYSTEM));
        Self {
            control: Arc::new(Control::new(Arc::clone(&settings), options.clone())),
            door: Arc::new(Door::new(Arc::clone(&settings), Arc::clone(&tally))),
            tally,
            options,
            settings,
            anchor: Mutex::new(None),
            closing: watch::Sender::new(false),
            first_connect: std::sync::Mutex::default(),
        }
    }

    pub(crate) fn settings(&self) -> &DatabaseSettings {
        &self.settings
    }

    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Runs `then` once, when the first connection is open and before it is lent.
    pub(crate) fn at_first_connect(&self, then: impl FnOnce() + Send + 'static) {
        *self.first_connect.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(then));
    }

    /// The pool has got other settings.
    pub(crate) fn reconfigured(&self, settings: &pool_core::Settings) {
        self.control.set_reset_timeout(settings.reset_timeout);
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

    async fn dial(&self) -> Result<Session<DB>, sqlx::Error> {
        self.ensure_anchor().await?;
        let options = self.fresh(&self.options).await?;
        let mut raw = dial::<DB>(&options).await?;
        self.control.known(&options);
        let state = self.door.admit::<DB>(&mut raw, &options).await?;
        self.tally.set_system(DB::system(&state));
        // What stands in between has limits of its own, which those of the server say nothing of.
        if self.settings.pooler == Pooler::Direct && !DB::is_swallowed(&state) && self.tally.wants_server() {
            // What cannot be asked gives no advice.
            if let Ok(Some(server)) = DB::limits_of(&mut raw).await {
                self.tally.set_server(server);
            }
        }
        let limits = self.limits(&state);
        Ok(Session {
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

/// A connect under way. Dropped, it was given up for want of time.
struct Attempt<'a, DB: Backend>(&'a Sqlx<DB>);

impl<DB: Backend> Drop for Attempt<'_, DB> {
    fn drop(&mut self) {
        if !*self.0.closing.borrow() {
            self.0.tally.connect_failed("connect_timeout");
        }
    }
}

impl<DB: Backend> Manager for Sqlx<DB> {
    type Conn = Session<DB>;
    type Error = sqlx::Error;

    async fn connect(&self) -> Result<Session<DB>, sqlx::Error> {
        let attempt = Attempt(self);
        let session = self.dial().await;
        std::mem::forget(attempt);
        match &session {
            Ok(_) => {
                // Taken out of the lock first: `then` may log, and a subscriber may do anything.
                let then = self.first_connect.lock().unwrap_or_else(PoisonError::into_inner).take();
                then.into_iter().for_each(|then| then());
            }
            Err(error) => {
                self.tally.connect_failed(&error_type(error));
                self.tally.note(error);
            }
        }
        session
    }

    async fn ping(&self, session: &mut Session<DB>) -> Result<(), sqlx::Error> {
        session.raw.ping().await
    }

    async fn reset(&self, session: &mut Session<DB>) -> Result<(), sqlx::Error> {
        let unseen = session.track.has_unseen();
        session.clean().await.map_err(|error| match Class::of(&error) {
            // A server ends a connection that speaks out of turn, as after a COPY that was dropped: no reason to give others up.
            Class::Lost if unseen => sqlx::Error::Protocol(format!("the connection was lost: {error}")),
            _ => error,
        })
    }

    async fn close(&self, session: Session<DB>) {
        session.close().await;
    }

    fn condition(&self, session: &mut Session<DB>) -> Condition {
        // A loan may have had limits of its own.
        session.limits = self.limits(&session.state);
        match session.track.on_return() {
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
