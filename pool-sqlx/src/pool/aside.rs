//! Connections beside the pool: for migrations, and for LISTEN.

use super::{door::refused, manager::Sqlx};
use crate::{
    DatabaseSettings, Error, Pooler,
    backend::{Backend, Options, dial::dial, poolers},
};
use sqlx::Connection;

impl<DB: Backend> Sqlx<DB> {
    /// A connection outside the pool and without a statement timeout, for work that may take long.
    #[cfg(feature = "migrate")]
    pub(crate) async fn connect_aside(&self) -> Result<DB::Connection, Error> {
        self.ensure_anchor().await?;
        let options = self.aside("migrations hold a lock of the session")?;
        Ok(self.dial_aside(&options).await?)
    }

    /// Options that lead past any pooler, and without a statement timeout, for what needs a session of its own.
    pub(crate) fn aside(&self, need: &str) -> Result<Options<DB>, Error> {
        let mut direct = DatabaseSettings::clone(&self.settings);
        if let Some(url) = &self.settings.listen_url {
            (direct.url, direct.pooler) = (url.clone(), Pooler::Direct);
            if let Some((_, reason)) = poolers::guess(url).filter(|_| !self.keeps_sessions()) {
                return Err(Error::pooler(format!(
                    "refused: {need}, which a pooler does not keep, and listen_url leads to one: {reason}; set it to the server itself"
                )));
            }
        } else if direct.pooler != Pooler::Direct {
            return Err(Error::pooler(format!(
                "refused: {need}, which a pooler does not keep; set listen_url to the server itself"
            )));
        }
        // In memory the name of the database is made up when the options are, so these must be the same ones.
        match DB::is_volatile(&self.settings) {
            true => Ok(self.options.clone()),
            false => DB::configure(&direct, None),
        }
    }

    /// A connection with the options of [`aside`](Self::aside), unless it ends at a pooler.
    pub(crate) async fn dial_aside(&self, options: &Options<DB>) -> Result<DB::Connection, sqlx::Error> {
        let mut conn = dial::<DB>(&self.fresh(options).await?).await?;
        if self.keeps_sessions() || DB::is_marked(&mut conn).await? {
            return Ok(conn);
        }
        let _ = conn.close().await;
        let url = if self.settings.listen_url.is_some() { "listen_url" } else { "url" };
        Err(refused(&format!(
            "refused: the server did not get our start-up options, so {url} leads to a pooler, which does not keep the session that this \
             needs; set listen_url to the server itself (pooler = \"direct\" if it pools sessions, not transactions)"
        )))
    }

    /// Whether somebody has said that what stands before the server, if anything, keeps sessions.
    fn keeps_sessions(&self) -> bool {
        let is_said = self.settings.pooler == Pooler::Direct && self.settings.explicit("pooler").is_some();
        is_said || self.settings.listen_url.as_ref().is_some_and(poolers::pools_sessions)
    }
}
