//! A configuration in YAML or JSON in place of `Pool.toml`, and a url from the command line, which wins over it and over the environment.
//!
//! ```text
//! cargo run -p tests --example formats -- --database-url sqlite::memory:
//! ```

use pool_sqlx::{
    DatabaseSettings, Error, Pools, SqlitePool,
    figment::{
        Figment,
        providers::{Format, Json, Serialized, Yaml},
    },
};

#[derive(Clone, Pools)]
struct Databases {
    primary: SqlitePool,
}

/// The files first, then the environment, then the command line: the last that says something counts.
fn configuration(database_url: Option<String>) -> Figment {
    // `nested`: the keys of the first level are profiles, as the tables of `Pool.toml` are.
    let figment = DatabaseSettings::figment_for(Databases::SECTIONS)
        .merge(Yaml::file("service.yaml").nested())
        .merge(Json::file("service.json").nested());
    match database_url {
        // In the profile `global`, where the environment stands, too.
        Some(url) => figment.merge(Serialized::global("databases.primary.url", url)),
        None => figment,
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--database-url").skip(1);
    let databases = Databases::connect_with(&configuration(arguments.next())).await?;
    let file: String =
        sqlx::query_scalar("select file from pragma_database_list").fetch_one(&databases.primary).await?;
    println!("{} connections to {:?}", databases.primary.settings().pool_size, file.rsplit('/').next());
    let _closed = databases.close().await;
    Ok(())
}
