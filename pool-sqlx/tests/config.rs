//! Configuration from end to end: files, variables, profiles. In a process of its own, for it changes the environment.
#![allow(clippy::result_large_err, reason = "figment's jail wants figment's own error")]

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use figment::{
    Figment, Jail,
    providers::{Format, Serialized, Toml},
};
use pool_core::{MaxOverflow, Nested};
use pool_sqlx::{ConfigError, DatabaseSettings, PgPool, Pooler, Reset, Secret, SettingKind, SqlitePool, reference};

const SECOND: Duration = Duration::from_secs(1);

/// A clean environment with this file and these variables.
fn jail(file: &str, variables: &[(&str, &str)], test: impl FnOnce(&mut Jail)) {
    Jail::expect_with(|jail| {
        jail.clear_env();
        if !file.is_empty() {
            jail.create_file("Pool.toml", file)?;
        }
        for (name, value) in variables {
            jail.set_env(name, value);
        }
        test(jail);
        Ok(())
    });
}

fn primary() -> Result<DatabaseSettings, ConfigError> {
    DatabaseSettings::from(&DatabaseSettings::figment(), "primary")
}

fn faults(error: &ConfigError) -> Vec<String> {
    error.faults().iter().map(ToString::to_string).collect()
}

const URL: (&str, &str) = ("DATABASE_URL", "postgres://app:hunter2@db/app");

#[test]
fn the_requirement_documents_block_is_accepted_unchanged() {
    let variables = [
        URL,
        ("DATABASE_STATEMENT_TIMEOUT", "10.0"),
        ("DATABASE_CONNECTION_TIMEOUT", "10.0"),
        ("DATABASE_POOL_SIZE", "10"),
        ("DATABASE_MAX_OVERFLOW", "5"),
        ("DATABASE_POOL_RECYCLE", "7200"),
        ("DATABASE_POOL_PRE_PING", "true"),
        ("DATABASE_POOL_TIMEOUT", "10.0"),
    ];
    jail("", &variables, |_| {
        let settings = primary().expect("accepted");
        assert_eq!(settings.statement_timeout, Some(10 * SECOND));
        assert_eq!(settings.pool.connection_timeout, 10 * SECOND);
        assert_eq!(settings.pool.pool_timeout, 10 * SECOND);
        assert_eq!(settings.pool.pool_size, 10);
        assert_eq!(settings.pool.max_overflow, MaxOverflow::Limited(5));
        assert_eq!(settings.pool.pool_recycle, Some(7200 * SECOND));
        assert!(settings.pool.pool_pre_ping);
        for (variable, _) in variables {
            let key = variable["DATABASE_".len()..].to_lowercase();
            assert_eq!(settings.explicit(&key), Some(variable));
        }
    });
}

#[test]
fn a_url_in_the_environment_is_enough() {
    jail("", &[URL], |_| {
        let settings = primary().expect("accepted");
        assert_eq!(settings.url.expose(), URL.1);
        assert_eq!(settings.pool, pool_core::Settings::default().with_name("primary"));
        assert_eq!(settings.explicit("url"), Some("DATABASE_URL"));
        assert_eq!(settings.explicit("pool_size"), None);
    });
}

#[test]
fn code_beats_environment_beats_profile_beats_default() {
    let file = r#"
        [default.databases.primary]
        url = "postgres://app@db/app"
        pool_size = 1
        min_idle = 1
        max_overflow = 1
        connect_concurrency = 1
        max_uses = 1

        [production.databases.primary]
        min_idle = 2
        max_overflow = 2
        connect_concurrency = 2
        max_uses = 2
        pool_size = 2

        [dev.databases.primary]
        max_uses = 99
    "#;
    let variables = [
        ("POOL_PROFILE", "production"),
        ("DATABASE_MAX_OVERFLOW", "3"),
        ("DATABASE_CONNECT_CONCURRENCY", "3"),
        ("DATABASE_MAX_USES", "3"),
    ];
    jail(file, &variables, |_| {
        let figment = DatabaseSettings::figment().merge(Serialized::global("databases.primary.connect_concurrency", 4));
        let settings = DatabaseSettings::from(&figment, "primary").expect("accepted").with_max_uses(5);
        assert_eq!(settings.url.expose(), "postgres://app@db/app");
        assert_eq!(settings.pool.min_idle, 2);
        assert_eq!(settings.pool.max_overflow, MaxOverflow::Limited(3));
        assert_eq!(settings.pool.connect_concurrency, 4);
        assert_eq!(settings.pool.max_uses, Some(5));
        assert_eq!(settings.explicit("url"), Some("Pool.toml, [default.databases.primary] url"));
        assert_eq!(settings.explicit("min_idle"), Some("Pool.toml, [production.databases.primary] min_idle"));
        assert_eq!(settings.explicit("max_overflow"), Some("DATABASE_MAX_OVERFLOW"));
        assert!(settings.explicit("connect_concurrency").expect("set").contains("tests/config.rs"));
        assert_eq!(settings.explicit("max_uses"), Some("max_uses, set in code"));
    });
}

#[test]
fn the_profile_is_pool_profile_or_that_of_the_build() {
    let file = r#"
        [dev.databases.primary]
        url = "postgres://dev/app"
        [production.databases.primary]
        url = "postgres://production/app"
        [staging.databases.primary]
        url = "postgres://staging/app"
    "#;
    let build = if cfg!(debug_assertions) { "postgres://dev/app" } else { "postgres://production/app" };
    for (profile, url) in
        [("staging", "postgres://staging/app"), ("Production", "postgres://production/app"), ("", build)]
    {
        jail(file, &[("POOL_PROFILE", profile)], |_| {
            assert_eq!(primary().expect("accepted").url.expose(), url);
        });
    }
    jail(file, &[], |_| assert_eq!(primary().expect("accepted").url.expose(), build));
}

/// A setting, a value other than its default, and whether the field has it.
type Example = (&'static str, &'static str, fn(&DatabaseSettings) -> bool);

fn examples() -> Vec<Example> {
    vec![
        ("url", "12345", |_| false),
        ("url_file", "./url", |_| false),
        ("password_file", "./password", |_| false),
        ("pool_size", "7", |s| s.pool.pool_size == 7),
        ("max_overflow", "unlimited", |s| s.pool.max_overflow == MaxOverflow::Unlimited),
        ("pool_timeout", "3s", |s| s.pool.pool_timeout == 3 * SECOND),
        ("connection_timeout", "4", |s| s.pool.connection_timeout == 4 * SECOND && s.pool.pool_timeout == 4 * SECOND),
        ("pool_recycle", "none", |s| s.pool.pool_recycle.is_none()),
        ("pool_pre_ping", "Off", |s| !s.pool.pool_pre_ping),
        ("pre_ping_after", "0", |s| s.pool.pre_ping_after == Duration::ZERO),
        ("ping_timeout", "250ms", |s| s.pool.ping_timeout == SECOND / 4),
        ("pool_use_lifo", "0", |s| !s.pool.pool_use_lifo),
        ("idle_timeout", "4m", |s| s.pool.idle_timeout == Some(240 * SECOND)),
        ("keepalive", "90s", |s| s.pool.keepalive == Some(90 * SECOND)),
        ("min_idle", "2", |s| s.pool.min_idle == 2),
        ("overflow_linger", "1.5", |s| s.pool.overflow_linger == SECOND * 3 / 2),
        ("max_uses", "1000", |s| s.pool.max_uses == Some(1000)),
        ("reset_timeout", "2s", |s| s.pool.reset_timeout == 2 * SECOND),
        ("max_waiting", "100", |s| s.pool.max_waiting == Some(100)),
        ("slow_acquire", "100ms", |s| s.pool.slow_acquire == SECOND / 10),
        ("leak_after", "none", |s| s.pool.leak_after.is_none()),
        ("shutdown_grace", "0.5h", |s| s.pool.shutdown_grace == 1800 * SECOND),
        ("connect_concurrency", "8", |s| s.pool.connect_concurrency == 8),
        ("nested", "deny", |s| s.pool.nested == Nested::Deny),
        ("statement_timeout", "0", |s| s.statement_timeout.is_none()),
        ("lock_timeout", "500ms", |s| s.lock_timeout == Some(SECOND / 2)),
        ("idle_in_transaction_timeout", "30", |s| s.idle_in_transaction_timeout == Some(30 * SECOND)),
        ("application_name", "007", |s| s.application_name.as_deref() == Some("007")),
        ("statement_cache", "50", |s| s.statement_cache == Some(50)),
        ("statement_timeout_status", "504", |s| s.statement_timeout_status == 504),
        ("reset", "session", |s| s.reset == Reset::Session),
        ("pooler", "prepared", |s| s.pooler == Pooler::Prepared),
        ("listen_url", "postgres://listen:hunter2@db/app", |s| {
            s.listen_url.as_ref().is_some_and(|url| url.expose() == "postgres://listen:hunter2@db/app")
        }),
        ("wake_allowance", "5s", |_| false),
        ("provider", "neon", |_| false),
    ]
}

#[test]
fn every_variable_sets_its_field() {
    let keys: Vec<_> = examples().iter().map(|(key, ..)| *key).collect();
    assert_eq!(keys, reference().iter().map(|setting| setting.key).collect::<Vec<_>>(), "an example for each setting");
    for (setting, (key, value, is_set)) in reference().iter().zip(examples()) {
        if ["url", "url_file", "password_file", "wake_allowance", "provider"].contains(&key) {
            continue; // In the tests below.
        }
        jail("", &[URL, (&setting.variable(), value)], |_| {
            let settings = primary().unwrap_or_else(|error| panic!("{key}: {error}"));
            assert!(is_set(&settings), "{key} = {value}: {settings:#?}");
            assert_eq!(settings.explicit(key), Some(&*setting.variable()));
        });
        jail("", &[URL], |_| assert!(!is_set(&primary().expect("accepted")), "{key} = {value} is the default"));
    }
}

#[test]
fn what_does_not_exist_yet_is_refused_unless_it_is_the_default() {
    for key in ["wake_allowance", "provider"] {
        let (_, value, _) = examples().into_iter().find(|(k, ..)| *k == key).expect("an example");
        let variable = format!("DATABASE_{}", key.to_uppercase());
        jail("", &[URL, (&variable, value)], |_| {
            let error = primary().expect_err(key);
            let [fault] = error.faults() else { panic!("{error}") };
            assert_eq!((fault.key.as_str(), fault.source.as_deref()), (key, Some(&*variable)));
            assert!(fault.problem.contains("supported by this version yet"), "{fault}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        });
    }
    let defaults = [("DATABASE_WAKE_ALLOWANCE", "0"), ("DATABASE_POOLER", "direct"), ("DATABASE_PROVIDER", "none")];
    jail("", &[&[URL][..], &defaults].concat(), |_| {
        assert_eq!(primary().expect("accepted").pooler, Pooler::Direct);
    });
}

#[test]
fn the_table_and_the_defaults_agree() {
    // What cannot be written as a value is a sentence in the table.
    let in_words = ["url", "pool_timeout", "application_name", "statement_cache", "listen_url"];
    let binary =
        std::env::current_exe().expect("a test has a file").file_stem().map(|name| name.to_string_lossy().into_owned());
    let mut file = String::from("[default.databases.primary]\nurl = 'sqlite::memory:'\n");
    for setting in reference().iter().filter(|setting| !in_words.contains(&setting.key)) {
        let quoted = !matches!(setting.kind, SettingKind::Count | SettingKind::Overflow | SettingKind::Switch);
        let quote = if quoted { "'" } else { "" };
        file.push_str(&format!("{} = {quote}{}{quote}\n", setting.key, setting.default));
    }
    jail(&file, &[], |_| {
        let written = primary().expect("the defaults are accepted");
        let defaults = DatabaseSettings::new("sqlite::memory:").expect("accepted").with_name("primary");
        assert_eq!(written.pool, defaults.pool);
        assert_eq!(written.statement_timeout, defaults.statement_timeout);
        assert_eq!(written.lock_timeout, defaults.lock_timeout);
        assert_eq!(written.idle_in_transaction_timeout, defaults.idle_in_transaction_timeout);
        assert_eq!(written.statement_timeout_status, defaults.statement_timeout_status);
        assert_eq!((written.reset, written.pooler), (defaults.reset, defaults.pooler));
        assert_eq!((written.statement_cache, defaults.application_name), (None, binary));
        assert_eq!(defaults.pool.pool_timeout, defaults.pool.connection_timeout);
    });
}

#[test]
fn pool_timeout_follows_the_configured_connection_timeout_unless_it_is_set() {
    jail("", &[URL, ("DATABASE_CONNECTION_TIMEOUT", "20")], |_| {
        assert_eq!(primary().expect("accepted").pool.pool_timeout, 20 * SECOND);
    });
    jail("", &[URL, ("DATABASE_CONNECTION_TIMEOUT", "20"), ("DATABASE_POOL_TIMEOUT", "3")], |_| {
        assert_eq!(primary().expect("accepted").pool.pool_timeout, 3 * SECOND);
    });
    let settings = DatabaseSettings::new("postgres://db/app").expect("accepted");
    assert_eq!(settings.clone().with_connection_timeout(20 * SECOND).pool.pool_timeout, 20 * SECOND);
    let settings = settings.with_pool_timeout(10 * SECOND).with_connection_timeout(20 * SECOND);
    assert_eq!(settings.pool.pool_timeout, 10 * SECOND);
}

#[test]
fn named_databases_have_their_own_variables() {
    let file = r#"
        [default.databases.primary]
        url = "postgres://db/app"
        [default.databases.replica]
        url = "postgres://replica/app"
        pool_size = 20
        [default.databases.pool]
        url = "postgres://pool/app"
    "#;
    let variables = [
        ("DATABASE_POOL_SIZE", "11"),
        ("DATABASE_REPLICA_MAX_OVERFLOW", "12"),
        ("DATABASE_POOL_POOL_SIZE", "13"),
        ("DATABASE_EVENTS_URL", "postgres://events/app"),
    ];
    jail(file, &variables, |_| {
        let figment = DatabaseSettings::figment();
        let read = |name| DatabaseSettings::from(&figment, name).expect("accepted");
        assert_eq!(read("primary").pool.pool_size, 11);
        assert_eq!(read("replica").pool.pool_size, 20);
        assert_eq!(read("replica").pool.max_overflow, MaxOverflow::Limited(12));
        assert_eq!(read("pool").pool.pool_size, 13, "a database called `pool` does not swallow DATABASE_POOL_SIZE");
        assert_eq!(read("pool").pool.name, "pool");
        assert_eq!(read("events").url.expose(), "postgres://events/app");
    });
}

#[test]
fn the_only_database_takes_the_unnamed_variables_whatever_its_name() {
    jail("[default.databases.tracks]\npool_size = 3", &[URL], |_| {
        let settings = DatabaseSettings::from(&DatabaseSettings::figment(), "tracks").expect("accepted");
        assert_eq!((settings.url.expose(), settings.pool.pool_size), (URL.1, 3));
    });
    jail("", &[URL], |_| {
        let settings = DatabaseSettings::from(&DatabaseSettings::figment_for(&["tracks"]), "tracks").expect("accepted");
        assert_eq!(settings.url.expose(), URL.1);
    });
}

#[test]
fn empty_variables_are_not_set() {
    let variables =
        [("DATABASE_POOL_SIZE", ""), ("DATABASE_POOL_PRE_PING", " "), ("POOL_PROFILE", ""), ("POOL_CONFIG", ""), URL];
    jail("", &variables, |_| {
        let settings = primary().expect("accepted");
        assert_eq!(settings.pool.pool_size, 10);
        assert_eq!(settings.explicit("pool_size"), None);
    });
}

#[test]
fn a_url_stays_text_and_is_never_quoted() {
    jail("", &[("DATABASE_URL", "12345")], |_| {
        assert_eq!(
            faults(&primary().expect_err("no url")),
            ["DATABASE_URL: expected a url such as postgres://app@db/app, mysql://app@db/app or sqlite://app.db"]
        );
    });
}

#[test]
fn all_faults_come_at_once_with_key_profile_and_place() {
    let file = r#"
        [default.databases.primary]
        pool_sise = 3
        acquire_timeout = "3s"
        colour = "red"
        pool_use_lifo = "yes"

        [production.databases.primary]
        pool_size = "forty"
        max_overflow = -2
        max_uses = 0
        statement_timeout = "-1s"
        statement_timeout_status = 500

        [staging.databases.primary]
        pool_recicle = 3
        pool_size = "of no interest in production"
    "#;
    let variables = [
        ("POOL_PROFILE", "production"),
        ("DATABASE_POOL_RECYCLE", "often"),
        ("DATABASE_RESET", "rolback"),
        ("DATABASE_MIN_IDLE", "20"), // More than the default pool_size, of which nothing is known here.
        ("DATABASE_LOCK_TIMEOUT", "0.1ms"),
    ];
    jail(file, &variables, |_| {
        let error = primary().expect_err("faults");
        let mut shown = faults(&error);
        shown.sort();
        assert_eq!(
            shown,
            [
                r#"DATABASE_LOCK_TIMEOUT: lock_timeout = 100µs is not from 1ms to 596h; use "none" for no limit"#,
                r#"DATABASE_POOL_RECYCLE: found "often", expected a duration such as 10 (seconds), "250ms", "2s", "5m" or "2h", or "none""#,
                r#"DATABASE_RESET: found "rolback", expected "rollback", "session" or "full""#,
                "Pool.toml, [default.databases.primary] acquire_timeout: unknown key; did you mean pool_timeout?",
                "Pool.toml, [default.databases.primary] colour: unknown key; see the settings table for those there are",
                "Pool.toml, [default.databases.primary] pool_sise: unknown key; did you mean pool_size?",
                r#"Pool.toml, [default.databases.primary] pool_use_lifo: found "yes", expected true or false"#,
                r#"Pool.toml, [production.databases.primary] max_overflow: found -2, expected a whole number such as 5, or "unlimited" (-1)"#,
                "Pool.toml, [production.databases.primary] max_uses: max_uses = 0 would never lend; leave it out for no limit",
                r#"Pool.toml, [production.databases.primary] pool_size: found "forty", expected a whole number such as 40"#,
                r#"Pool.toml, [production.databases.primary] statement_timeout: found "-1s", expected a duration of zero or more, or "none""#,
                "Pool.toml, [production.databases.primary] statement_timeout_status: statement_timeout_status = 500 is neither 503 nor 504",
                "Pool.toml, [staging.databases.primary] pool_recicle: unknown key; did you mean pool_recycle?",
                "no url for database primary (profile production): set databases.primary.url in Pool.toml or DATABASE_URL",
            ]
        );
        assert_eq!(error.to_string().lines().count(), error.faults().len());
        let fault = |key: &str| error.faults().iter().find(|fault| fault.key == key).expect("a fault");
        assert_eq!(fault("pool_size").profile, "production");
        assert_eq!(fault("pool_size").source.as_deref(), Some("Pool.toml, [production.databases.primary] pool_size"));
        assert_eq!(fault("pool_sise").profile, "default");
        assert_eq!(fault("reset").profile, "production");
        assert_eq!(fault("reset").source.as_deref(), Some("DATABASE_RESET"));
    });
}

#[test]
fn a_missing_url_says_where_to_set_it() {
    fn check(file: &str, variables: &[(&str, &str)], name: &str, expected: &str) {
        let variables = [&[("POOL_PROFILE", "production")], variables].concat();
        jail(file, &variables, |jail| {
            let error = DatabaseSettings::from(&DatabaseSettings::figment(), name).expect_err("no url");
            assert_eq!(error.to_string(), expected.replace("HERE", &jail.directory().display().to_string()));
        });
    }
    check(
        "",
        &[],
        "primary",
        "no url for database primary (profile production): set databases.primary.url in Pool.toml or DATABASE_URL; \
         there is no Pool.toml in HERE",
    );
    check(
        "",
        &[URL],
        "replica",
        "no url for database replica (profile production): set databases.replica.url in Pool.toml or DATABASE_REPLICA_URL; \
         DATABASE_URL was taken for the database primary; there is no Pool.toml in HERE",
    );
    check(
        "[default.databases.primry]\nurl = 'postgres://db/app'",
        &[],
        "primary",
        "no url for database primary (profile production): set databases.primary.url in Pool.toml or DATABASE_URL; \
         did you mean the database primry?",
    );
}

#[test]
fn sections_that_nobody_would_read_are_faults() {
    fn check(file: &str, expected: &str) {
        jail(file, &[URL], |_| {
            assert_eq!(faults(&primary().expect_err("a fault")), [expected]);
        });
    }
    check(
        "[databases.primary]\npool_size = 3",
        "Pool.toml: [databases.primary] has no profile; write [default.databases.primary]",
    );
    check(
        "[default.database.primary]\npool_size = 3",
        "Pool.toml: [default.database] is not read; did you mean [default.databases]?",
    );
    check(
        "[default]\ndatabases = 3",
        "Pool.toml, [default.databases.primary]: found 3 for all databases, expected a table for each",
    );
    check(
        "url = 'postgres://app:hunter2@db/app'",
        "Pool.toml: `url` stands outside of a table; settings belong under a profile and a database, such as [default.databases.primary]",
    );
}

#[test]
fn pool_config_names_another_file_which_must_be_there() {
    jail("", &[URL], |jail| {
        jail.create_file("other.toml", "[default.databases.primary]\npool_size = 3").expect("written");
        jail.set_env("POOL_CONFIG", "other.toml");
        assert_eq!(primary().expect("accepted").pool.pool_size, 3);
        assert_eq!(
            primary().expect("accepted").explicit("pool_size"),
            Some("other.toml, [default.databases.primary] pool_size")
        );
        jail.set_env("POOL_CONFIG", "missing.toml");
        assert_eq!(
            faults(&primary().expect_err("a fault")),
            ["POOL_CONFIG: there is no file missing.toml; correct the path, or unset the variable to read ./Pool.toml"]
        );
        jail.set_env("POOL_CONFIG", ".");
        let error = primary().expect_err("a directory is no file").to_string();
        assert!(error.starts_with("POOL_CONFIG: cannot read .: "), "{error}");
    });
}

#[test]
fn no_output_shows_a_secret() {
    let mut outputs = Vec::new();
    let settings = DatabaseSettings::new("postgres://app:hunter2@db/app?sslpassword=hunter2").expect("accepted");
    assert_eq!(settings.url.to_string(), "postgres://app:***@db/app?sslpassword=***");
    outputs.push(format!("{settings:?} {settings:#?} {} {:?}", settings.url, settings.url));

    #[derive(serde::Serialize)]
    struct Dump {
        url: Secret,
    }
    let dump = Figment::from(Serialized::defaults(Dump { url: settings.url }));
    assert_eq!(dump.extract_inner::<String>("url").expect("text"), "postgres://app:***@db/app?sslpassword=***");
    outputs.push(format!("{dump:?}"));

    let wrong = |file: &str, variables: &[(&str, &str)]| {
        let mut shown = String::new();
        jail(file, variables, |_| {
            let error = primary().expect_err("a fault");
            shown = format!("{error} {error:?}");
        });
        shown
    };
    // A url in the wrong key, from either side.
    outputs.push(wrong("", &[URL, ("DATABASE_POOL_SIZE", URL.1)]));
    outputs.push(wrong("[default.databases.primary]\npool_timeout = 'postgresql+asyncpg://app:hunter2@db'", &[URL]));
    outputs.push(wrong("[default.databases.primary]\nreset = 'app:hunter2@db'", &[URL]));
    // A url where a table should be, and one as a key.
    outputs.push(wrong("[default.databases]\nprimary = 'postgres://app:hunter2@db'", &[]));
    outputs.push(wrong("[default]\ndatabases = 'postgres://app:hunter2@db'", &[]));
    outputs.push(wrong("'postgres://app:hunter2@db' = 1", &[]));
    outputs.push(wrong("[default.databases.primary]\n'postgres://app:hunter2@db' = 1", &[URL]));
    // Urls that are none.
    outputs.push(wrong("", &[("DATABASE_URL", "hunter2")]));
    outputs.push(wrong("", &[("DATABASE_URL", "hunter2://app@db")]));
    outputs.push(wrong("", &[("DATABASE_URL", "postgres://app:12#hunter2@db/app")]));
    // A file that is no TOML, just there.
    outputs.push(wrong("[default.databases.primary]\nurl = postgres://app:hunter2@db/app", &[]));
    outputs.push(wrong("[default.databases.primary]\nurl = \"postgres://app:\\hunter2@db/app\"", &[]));

    for output in outputs {
        assert!(!output.contains("hunter2"), "{output}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_a_fault_with_its_line() {
    jail("[default.databases.primary]\npool_size = = 3", &[URL], |_| {
        let error = primary().expect_err("a fault").to_string();
        assert!(error.starts_with("Pool.toml: TOML parse error at line 2, column 13"), "{error}");
    });
}

#[test]
fn any_figment_can_be_read() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.create_file(
            "Service.toml",
            "[default]\nport = 80\n[default.databases.primary]\nurl = 'sqlite+aiosqlite:///tracks.db'\npool_size = 3\n[live.databases.primary]\npool_size = 'x'",
        )?;
        let figment = Figment::new()
            .merge(Toml::file("Service.toml").nested())
            .merge(Serialized::default("databases.primary.max_overflow", 2))
            .merge(("databases.primary.idle_timeout", "5m"));
        let settings = DatabaseSettings::from(&figment, "primary").expect("accepted");
        assert_eq!(settings.url.expose(), "sqlite://tracks.db");
        assert_eq!(settings.pool.pool_size, 3);
        assert_eq!(settings.pool.max_overflow, MaxOverflow::Limited(2));
        assert_eq!(settings.pool.idle_timeout, Some(300 * SECOND));
        assert_eq!(
            faults(&DatabaseSettings::from(&figment.select("live"), "primary").expect_err("a fault")),
            [r#"Service.toml, [live.databases.primary] pool_size: found "x", expected a whole number such as 40"#]
        );
        Ok(())
    });
}

#[test]
fn an_explanation_names_value_and_place_and_no_secret() {
    let file = "[default.databases.primary]\npool_size = 40\nurl = 'postgres://db/app'";
    jail(file, &[URL, ("DATABASE_POOL_TIMEOUT", "2s")], |_| {
        let explained: Vec<String> = DatabaseSettings::explain(&DatabaseSettings::figment())
            .into_iter()
            .map(|row| format!("{} = {} ({})", row.path, row.value, row.source))
            .collect();
        assert_eq!(
            explained,
            [
                "databases.primary.pool_size = 40 (Pool.toml, [default.databases.primary] pool_size)",
                "databases.primary.pool_timeout = \"2s\" (DATABASE_POOL_TIMEOUT)",
                "databases.primary.url = \"postgres://app:***@db/app\" (DATABASE_URL)",
            ]
        );
    });
}

/// What is logged while the figment is made.
fn logged(file: &str, variables: &[(&str, &str)]) -> String {
    logged_by(file, variables, || drop(DatabaseSettings::figment()))
}

fn logged_by(file: &str, variables: &[(&str, &str)], act: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while logging").extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    jail(file, variables, |_| tracing::subscriber::with_default(subscriber, act));
    String::from_utf8(log.0.lock().expect("no panic while logging").clone()).expect("text")
}

#[test]
fn variables_and_profiles_that_are_probably_misspelt_are_warned_of() {
    let file = "[defualt.databases.primary]\npool_size = 3\n[production.databases.primary]\npool_size = 4";
    let log = logged(file, &[("POOL_PROFILE", "production"), ("DATABASE_POOLSIZE", "hunter2")]);
    assert!(
        log.contains(
            "WARN pool: DATABASE_POOLSIZE is not a setting and has no effect; did you mean DATABASE_POOL_SIZE?"
        ),
        "{log}"
    );
    assert!(
        log.contains("WARN pool: Pool.toml: there is no profile default; did you mean defualt, which there is?"),
        "{log}"
    );
    assert!(!log.contains("hunter2"), "{log}");

    let log = logged(file, &[("POOL_PROFILE", "prodution")]);
    assert!(log.contains("there is no profile prodution; did you mean production, which there is?"), "{log}");
}

#[test]
fn faults_of_several_databases_merge_into_one_report() {
    jail("[default.databases.primary]\npool_size = 'x'\n[default.databases.replica]\nurl = 3", &[URL], |_| {
        let figment = DatabaseSettings::figment();
        let read = |name| DatabaseSettings::from(&figment, name).expect_err("a fault");
        assert_eq!(
            faults(&read("primary").merge(read("replica"))),
            [
                r#"Pool.toml, [default.databases.primary] pool_size: found "x", expected a whole number such as 40"#,
                "Pool.toml, [default.databases.replica] url: expected a url in quotes",
            ]
        );
    });
}

#[test]
fn settings_made_in_code_are_checked_too() {
    let settings = DatabaseSettings::new("postgresql+psycopg://app@db/app?ssl=require").expect("accepted");
    assert_eq!(settings.url.expose(), "postgres://app@db/app?sslmode=require");
    assert!(settings.validate().is_ok());
    let error = settings
        .with_min_idle(20)
        .with_pooler(Pooler::Unprepared)
        .with_statement_cache(0)
        .with_reset(Reset::Session)
        .validate()
        .expect_err("faults");
    assert_eq!(
        faults(&error),
        [
            "min_idle, set in code: min_idle = 20 is more than pool_size = 10; lower it or raise pool_size",
            "statement_cache, set in code: statement_cache = 0 makes sqlx leave a named statement behind on the server for every query, \
             and a pooler mixes them up; leave it out, or use 1 (behind a pooler, asyncpg's statement_cache_size = 0 is pooler = \
             \"unprepared\" here)",
            "reset, set in code: behind a pooler the session is not ours to reset; leave reset out, the pooler cleans its own sessions",
        ]
    );
}

#[test]
fn a_limit_has_one_place_which_is_not_the_url() {
    let url =
        ("DATABASE_URL", "postgres://app:hunter2@db/app?options=-c%20statement_timeout%3D2s%20-c%20search_path%3Da");
    let file = "[default.databases.primary]\nlisten_url = 'postgres://app:hunter2@db/app?options[lock_timeout]=2s'";
    let expected = [
        "DATABASE_URL: the options give statement_timeout, which the pool sets itself and keeps: take it out, and set \
         statement_timeout instead",
        "Pool.toml, [default.databases.primary] listen_url: the options give lock_timeout, which the pool sets itself and keeps: take \
         it out, and set lock_timeout instead",
    ];
    jail(file, &[url], |_| assert_eq!(faults(&primary().expect_err("a fault")), expected));
    // One that is set as well is no reason to look away.
    let set = ("DATABASE_STATEMENT_TIMEOUT", "2s");
    jail(file, &[url, set], |_| assert_eq!(faults(&primary().expect_err("a fault")), expected));
    // Neither is a pooler, which would lose the others, too.
    let lost = "DATABASE_URL: the options give search_path, which a pooler ignores or refuses: take them out, and use ALTER ROLE .. SET \
                search_path, or SET LOCAL in a transaction";
    jail(file, &[url, ("DATABASE_POOLER", "prepared")], |_| {
        assert_eq!(faults(&primary().expect_err("a fault")), [expected[0], expected[1], lost]);
    });
    let settings = DatabaseSettings::new(url.1).expect("a url");
    let error = PgPool::connect_lazy(settings).expect_err("checked when a pool is made, too").to_string();
    assert!(error.contains("set statement_timeout instead") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_cache_of_no_statements_is_refused_wherever_it_is_said() {
    const NONE: (&str, &str) = ("DATABASE_URL", "postgres://app:hunter2@db/app?statement-cache-capacity=0");
    for pooler in ["direct", "prepared", "unprepared"] {
        for variables in [
            [NONE, ("DATABASE_POOLER", pooler)].as_slice(),
            &[URL, ("DATABASE_POOLER", pooler), ("DATABASE_STATEMENT_CACHE", "0")],
        ] {
            jail("", variables, |_| {
                let error = primary().expect_err("a fault");
                let [fault] = error.faults() else { panic!("{error}") };
                assert!(fault.problem.contains("leave a named statement behind"), "{fault}");
                assert!(!error.to_string().contains("hunter2"), "{error}");
            });
        }
    }
    // The setting is what counts; and MySQL and SQLite close what they do not keep.
    jail("", &[NONE, ("DATABASE_STATEMENT_CACHE", "50")], |_| assert!(primary().is_ok()));
    for url in ["mysql://app@db/app?statement-cache-capacity=0", "sqlite::memory:"] {
        assert!(DatabaseSettings::new(url).expect("a url").with_statement_cache(0).validate().is_ok(), "{url}");
    }
}

#[test]
fn a_pool_has_a_name() {
    for name in ["", " \t"] {
        let settings = DatabaseSettings::new("sqlite::memory:").expect("a url").with_name(name);
        let error = settings.validate().expect_err("no name");
        assert_eq!(error.faults()[0].key, "name");
        assert!(SqlitePool::connect_lazy(settings).is_err());
    }
}

#[test]
fn the_variables_of_libpq_are_told_of_where_sqlx_would_pass_over_them() {
    fn check(query: &str, variable: (&str, &str), expected: &[&str]) {
        let url = format!("postgres://app:hunter2@db/app{query}");
        jail("", &[variable], |_| {
            let pool = PgPool::connect_lazy(DatabaseSettings::new(&url).expect("a url"));
            let shown = pool.err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(shown.is_empty(), expected.is_empty(), "{variable:?} {query}: {shown}");
            for part in expected {
                assert!(shown.contains(part) && !shown.contains("hunter2"), "{variable:?} {query}: {shown}");
            }
        });
    }
    check(
        "",
        ("PGOPTIONS", "-c lock_timeout=2s"),
        &["PGOPTIONS: the options give lock_timeout", "set lock_timeout instead"],
    );
    check("", ("PGOPTIONS", "-c search_path=a -c timezone=CET"), &[]);
    let behind = |options: &str| {
        jail("", &[("PGOPTIONS", options)], |_| {
            let settings = DatabaseSettings::new("postgres://app@db/app").expect("a url");
            let pool = PgPool::connect_lazy(settings.with_pooler(pool_sqlx::Pooler::Unprepared));
            let shown = pool.expect_err(options).to_string();
            assert!(shown.contains("PGOPTIONS: the options give search_path, which a pooler ignores"), "{shown}");
        });
    };
    behind("-c search_path=a");
    // sqlx alone would take it for `prefer`.
    check("", ("PGSSLMODE", "verify_full"), &["PGSSLMODE: found \"verify_full\"", "verify-full"]);
    check("?sslmode=disable", ("PGSSLMODE", "verify_full"), &[]);
    check("", ("PGSSLMODE", "Disable"), &[]);
    check("", ("PGPORT", "5433x"), &["PGPORT: found \"5433x\", expected a port"]);
    check("?port=5433", ("PGPORT", "5433x"), &[]);
    check("", ("PGSSLROOTCERT", "/nowhere/ca.pem"), &["PGSSLROOTCERT: it names /nowhere/ca.pem, which cannot be read"]);
    check("", ("PGSSLKEY", "/nowhere/hunter2"), &["PGSSLKEY: it names a file that cannot be read"]);
    check("", ("PGSSLROOTCERT", "system"), &["PGSSLROOTCERT: system is not known to sqlx"]);
    for (name, value) in [("PGSSLMODE", "\"require\""), ("PGSSLMODE", " require"), ("PGPORT", "'5433'")] {
        check("", (name, value), &[name, "found"]);
    }
    check("", ("PGAPPNAME", "tracks"), &[]);
    check("", ("PGAPPNAME", "'tracks'"), &["PGAPPNAME: the value stands in quotation marks"]);
    // What the url says itself is not looked up.
    check("", ("PGHOST", " other"), &[]);
    check("", ("PGPASSWORD", "hunter2\n"), &[]);
    for (name, value, expected) in [
        ("PGHOST", "\"db\"", "stands in quotation marks"),
        ("PGHOST", "db\n", "begins or ends with white space"),
        ("PGUSER", "'app'", "stands in quotation marks"),
        ("PGDATABASE", " app", "begins or ends with white space"),
        ("PGPASSWORD", "hunter2\n", "it ends in a line break"),
    ] {
        jail("", &[(name, value)], |_| {
            let settings = DatabaseSettings::new("postgres://").expect("a url");
            let shown = PgPool::connect_lazy(settings).expect_err(name).to_string();
            assert!(shown.contains(&format!("{name}: ")) && shown.contains(expected), "{name}: {shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        });
    }
}

#[test]
fn a_misspelt_section_is_a_fault_although_the_url_comes_from_elsewhere() {
    #[derive(Clone, pool_sqlx::Pools)]
    struct Databases {
        #[allow(dead_code, reason = "only read")]
        primary: pool_sqlx::SqlitePool,
    }
    Jail::expect_with(|jail| {
        jail.create_file(
            "Pool.toml",
            "[default.databases.primry]\npool_size = 3\n[default.databases.archive]\npool_size = 1\n",
        )?;
        jail.set_env("DATABASE_URL", "sqlite::memory:");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let Err(error) = runtime.block_on(Databases::connect()) else { panic!("it connected with the default size") };
        let text = error.to_string();
        assert!(text.contains("no database primry; did you mean primary?"), "{text}");
        assert!(text.contains("Pool.toml, [default.databases.primry]"), "{text}");
        assert!(!text.contains("archive"), "another program may read it: {text}");
        Ok(())
    });
}

#[test]
fn a_profile_that_the_file_does_not_declare_is_warned_of_if_it_was_probably_meant() {
    fn check(file: &str, profile: Option<&str>, expected: Option<&str>) {
        let profile: Vec<_> = profile.map(|name| ("POOL_PROFILE", name)).into_iter().chain([URL]).collect();
        let log = logged(file, &profile);
        match expected {
            Some(expected) => assert!(log.contains(expected), "{file:?} {profile:?}: {log}"),
            None => assert_eq!(log, "", "{file:?} {profile:?}"),
        }
    }
    let table = |profile: &str| format!("[{profile}.databases.primary]\npool_size = 3\n");
    let both = |profile: &str| table("default") + &table(profile);
    // Profiles know no case, neither in the file nor in the variable.
    check(&both("production"), Some("Production"), None);
    check(&both("Production"), Some("PRODUCTION"), None);
    check(&(table("Default") + &table("production")), Some("production"), None);
    // Other names of what a build selects.
    for name in ["development", "debug", "local", "Development"] {
        let expected = format!("there is no profile dev; did you mean {}, which there is?", name.to_lowercase());
        check(&both(name), Some("dev"), Some(&expected));
    }
    for name in ["prod", "release", "live"] {
        let expected = format!("there is no profile production; did you mean {name}, which there is?");
        check(&both(name), Some("production"), Some(&expected));
    }
    let built = if cfg!(debug_assertions) { "development" } else { "release" };
    check(&both(built), None, Some(&format!("did you mean {built}")));
    // Asked for by name.
    let expected = "Pool.toml: there is no profile staging, which POOL_PROFILE asks for; there are: default, live";
    check(&both("live"), Some("staging"), Some(expected));
    check(&table("default"), Some("staging"), Some("there are: default"));
    // Nothing to say: no file, or a file that speaks of other profiles only.
    check("", Some("staging"), None);
    check(&table("default"), Some("production"), None);
    check(&both("staging"), Some("dev"), None);
}

#[test]
fn quotation_marks_around_a_value_are_pointed_out_wherever_it_comes_from() {
    fn check(variables: &[(&str, &str)], source: &str) {
        jail("", variables, |_| {
            let error = primary().expect_err(source);
            let [fault] = error.faults() else { panic!("{error}") };
            assert_eq!(fault.source.as_deref(), Some(source), "{fault}");
            assert!(fault.problem.contains("stands in quotation marks") && fault.problem.contains("take them away"));
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        });
    }
    check(&[("DATABASE_URL", "\"postgres://app:hunter2@db/app\"")], "DATABASE_URL");
    check(&[("DATABASE_URL", " 'postgres://app:hunter2@db/app' ")], "DATABASE_URL");
    check(&[URL, ("DATABASE_POOL_SIZE", "\"10\"")], "DATABASE_POOL_SIZE");
    check(&[URL, ("DATABASE_STATEMENT_TIMEOUT", "'2s'")], "DATABASE_STATEMENT_TIMEOUT");
    check(&[URL, ("DATABASE_POOL_PRE_PING", "“true”")], "DATABASE_POOL_PRE_PING");
    check(&[URL, ("DATABASE_POOLER", "\"prepared\"")], "DATABASE_POOLER");
    check(&[URL, ("DATABASE_APPLICATION_NAME", "'app'")], "DATABASE_APPLICATION_NAME");
    check(&[URL, ("DATABASE_LISTEN_URL", "'postgres://app:hunter2@db/app'")], "DATABASE_LISTEN_URL");
    check(&[("DATABASE_URL_FILE", "'/run/secrets/url'")], "DATABASE_URL_FILE");
    check(&[URL, ("POOL_PROFILE", "\"production\"")], "POOL_PROFILE");
    check(&[URL, ("POOL_CONFIG", "'Pool.toml'")], "POOL_CONFIG");
    // White space around is taken away from all of them.
    jail("[default.databases.primary]\npool_size = 3\n[live.databases.primary]\npool_size = 4", &[], |jail| {
        for (name, value) in [
            ("DATABASE_URL", "\tpostgres://app@db/app \r\n"),
            ("POOL_PROFILE", " live\n"),
            ("POOL_CONFIG", " Pool.toml\n"),
            ("DATABASE_MAX_OVERFLOW", " 7 "),
            ("DATABASE_POOLER", "direct\n"),
        ] {
            jail.set_env(name, value);
        }
        let settings = primary().expect("accepted");
        assert_eq!((settings.pool.pool_size, settings.pool.max_overflow), (4, 7.into()));
    });
}

#[test]
fn variables_that_nobody_reads_say_where_their_value_belongs() {
    fn check(variables: &[(&str, &str)], expected: &str) {
        let log = logged("", &[&[URL][..], variables].concat());
        assert!(log.contains(expected) && !log.contains("hunter2"), "{variables:?}: {log}");
    }
    check(
        &[("database_pool_size", "3")],
        "database_pool_size has no effect: variables are in capitals, DATABASE_POOL_SIZE",
    );
    check(&[("DATABASE_HOST", "db")], "DATABASE_HOST is not a setting and has no effect; it belongs into DATABASE_URL");
    check(
        &[("DATABASE_PASSWORD", "hunter2")],
        "it belongs into DATABASE_URL, or into the file that DATABASE_PASSWORD_FILE names",
    );
    check(
        &[("DATABASE_REPLICA_URL", "postgres://r/app"), ("DATABASE_REPLICA_USER", "hunter2")],
        "DATABASE_REPLICA_USER is not a setting and has no effect; it belongs into DATABASE_REPLICA_URL",
    );
    check(
        &[("DATABASE_PRIMARY_URL", "postgres://app:hunter2@other/app")],
        "DATABASE_URL and DATABASE_PRIMARY_URL are both set and differ: DATABASE_PRIMARY_URL counts",
    );
    check(
        &[("DATABASE_POOL_SIZE", "3"), ("DATABASE_PRIMARY_POOL_SIZE", "4")],
        "DATABASE_POOL_SIZE and DATABASE_PRIMARY_POOL_SIZE are both set and differ: DATABASE_PRIMARY_POOL_SIZE counts",
    );
    assert_eq!(logged("", &[URL, ("DATABASE_PRIMARY_URL", URL.1)]), "", "they agree");
}

#[test]
fn numbers_in_quotes_and_numbers_that_are_milliseconds_say_how_to_write_them() {
    fn check(line: &str, expected: &str) {
        jail(&format!("[default.databases.primary]\n{line}"), &[URL], |_| {
            let error = faults(&primary().expect_err(line));
            let (key, _) = line.split_once(" =").expect("an assignment");
            assert_eq!(error, [format!("Pool.toml, [default.databases.primary] {key}: {expected}")]);
        });
    }
    check("pool_size = '10'", r#"found "10", expected a whole number such as 40; write 10 without quotes"#);
    check("pool_pre_ping = 'false'", r#"found "false", expected true or false; write false without quotes"#);
    check(
        "statement_timeout = 30000",
        r#"30000 is 30000 seconds, and looks like milliseconds; write "30s", or "500m" if that is meant"#,
    );
    check(
        "idle_timeout = '600000'",
        r#"600000 is 600000 seconds, and looks like milliseconds; write "10m", or "10000m" if that is meant"#,
    );
    check(
        "pool_timeout = 0",
        "pool_timeout = 0 lets nobody wait, not even for the first connection; write at least 10ms",
    );
    let log = logged_by("[default.databases.primary]\npool_timeout = 500", &[URL], || drop(primary()));
    let expected = "Pool.toml, [default.databases.primary] pool_timeout: pool_timeout = 500 is 500 seconds; write \"500ms\" if \
                    milliseconds are meant, else \"500s\"";
    assert!(log.contains(expected), "{log}");
}

#[test]
fn tables_and_keys_in_the_wrong_place_say_where_they_belong() {
    fn check(file: &str, expected: &[&str]) {
        jail(file, &[URL], |_| {
            let error = primary().expect_err(file);
            assert_eq!(faults(&error), expected, "{file}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        });
    }
    let url = "url = 'postgres://app:hunter2@db/app'";
    check(
        &format!("[default.primary]\n{url}"),
        &["Pool.toml: [default.primary] is not read; did you mean [default.databases.primary]?"],
    );
    check(
        "[production.replica]\nmax_overflow = 3",
        &["Pool.toml: [production.replica] is not read; did you mean [production.databases.replica]?"],
    );
    check(
        &format!("[default.databases]\n{url}\npool_size = 3"),
        &[
            "Pool.toml, [default.databases.primary]: pool_size, url in [default.databases] is read for no database; write it here",
        ],
    );
    check(
        &format!("[default]\n{url}"),
        &["Pool.toml: url in [default] is read for no database; did you mean [default.databases.primary]?"],
    );
    check(
        &format!("[production]\n{url}\npool_size = 3"),
        &[
            "Pool.toml: pool_size, url in [production] is read for no database; did you mean [production.databases.primary]?",
        ],
    );
    for table in ["primary", "databases"] {
        let expected =
            format!("Pool.toml: url in [{table}] is read for no database; did you mean [default.databases.primary]?");
        check(&format!("[{table}]\n{url}"), &[&expected]);
    }
    check(
        "[default.databases.primary]\nhost = 'db'\nport = 5432\nuser = 'app'\npassword = 'hunter2'\ndatabase = 'app'",
        &["Pool.toml, [default.databases.primary] database, host, password, port, user: these belong into url = \
           \"postgres://user:password@host:5432/database\"; a password may stand in a file, too (password_file)"],
    );
    check(
        "[default.databases.primary.production]\npool_size = 3",
        &["Pool.toml, [default.databases.primary] production: a table here is not read; a profile comes first: \
           [<profile>.databases.primary]"],
    );
    // Of another part of the program: in a file that is not ours, or without a setting in it.
    jail("[default.server]\nport = 80", &[URL], |jail| {
        jail.create_file("Service.toml", "[default]\nurl = 'https://example.org'\n[default.mail]\nurl = 'smtp://mail'")
            .expect("written");
        let figment = DatabaseSettings::figment().merge(Toml::file("Service.toml").nested());
        assert!(DatabaseSettings::from(&figment, "primary").is_ok());
    });
}

#[test]
fn a_file_that_is_not_where_the_program_looks_is_found_for_the_reader() {
    fn check(files: &[&str], expected: &[&str]) {
        jail("", &[], |jail| {
            for file in files {
                let path = jail.directory().join(file);
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                std::fs::write(path, "[default.databases.primary]\nurl = 'postgres://app:hunter2@db/app'")
                    .expect("written");
            }
            let here = jail.directory().display().to_string();
            let error = primary().expect_err("no url").to_string();
            for part in expected {
                let part = part.replace("HERE", &here);
                assert!(error.contains(&part), "{files:?}: {part:?} is not in {error}");
            }
            assert!(!error.contains("hunter2"), "{error}");
        });
    }
    check(&[], &["set databases.primary.url in Pool.toml or DATABASE_URL; there is no Pool.toml in HERE"]);
    check(&["pool.toml"], &["(pool.toml is not read: its name must be Pool.toml)"]);
    check(&["Pool.tml"], &["(Pool.tml is not read: its name must be Pool.toml)"]);
    check(&["Pool.yaml"], &["(Pool.yaml is not read: YAML and JSON come in by a provider of figment"]);
    check(
        &["config/Pool.toml"],
        &["(there is HERE/config/Pool.toml: set POOL_CONFIG to it, or start the program there)"],
    );
    check(
        &[".env"],
        &["; HERE/.env is not read: export its lines (set -a; . ./.env; set +a), or call dotenvy::dotenv()"],
    );
    // Above the working directory.
    jail("[default.databases.primary]\nurl = 'postgres://db/app'", &[], |jail| {
        let (here, below) = (jail.directory().to_owned(), jail.directory().join("crates/service"));
        std::fs::create_dir_all(&below).expect("made");
        std::env::set_current_dir(&below).expect("it is there");
        let error = primary().expect_err("no url").to_string();
        let expected = format!("(there is {}: set POOL_CONFIG to it", here.join("Pool.toml").display());
        assert!(error.contains(&expected), "{error}");
    });
    // With a url from elsewhere it is a warning: the rest of the file would have no effect.
    let log = logged_by("", &[URL], || {
        std::fs::write("pool.toml", "[default.databases.primary]\npool_size = 3").expect("written");
        drop(DatabaseSettings::figment());
    });
    assert!(log.contains("WARN pool: pool.toml is not read: its name must be Pool.toml"), "{log}");
    // By another name of another format.
    jail("", &[URL, ("POOL_CONFIG", "Pool.yaml")], |jail| {
        jail.create_file("Pool.yaml", "default:\n  databases: {}\n").expect("written");
        assert_eq!(
            faults(&primary().expect_err("a fault")),
            ["POOL_CONFIG: Pool.yaml is no TOML by its name; YAML and JSON come in by a provider of figment and \
              connect_with(&figment)"]
        );
    });
}

#[test]
fn a_database_of_another_name_is_named() {
    jail("[default.databases.main]\nurl = 'postgres://app:hunter2@db/app'", &[("POOL_PROFILE", "dev")], |_| {
        assert_eq!(
            primary().expect_err("no url").to_string(),
            "no url for database primary (profile dev): set databases.primary.url in Pool.toml or DATABASE_URL; Pool.toml has no \
             database primary, but main: a name there has to be one that the program uses"
        );
    });
}

#[test]
fn a_url_and_a_password_can_stand_in_files() {
    const FROM_FILE: &str = "postgres://app:hunter2@file/app";
    fn with(
        files: &[(&str, &str)],
        file: &str,
        variables: &[(&str, &str)],
        check: impl FnOnce(Result<DatabaseSettings, ConfigError>),
    ) {
        jail(file, variables, |jail| {
            for (name, text) in files {
                jail.create_file(name, text).expect("written");
            }
            check(DatabaseSettings::from(&DatabaseSettings::figment(), "primary"));
        });
    }
    let url = |expected: &'static str| {
        move |settings: Result<DatabaseSettings, ConfigError>| {
            let settings = settings.expect("accepted");
            assert_eq!(settings.url.expose(), expected);
            assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
        }
    };
    let secret = &[("url", "postgresql+asyncpg://app:hunter2@file/app\r\n"), ("password", "hunter2\n")];
    with(secret, "", &[("DATABASE_URL_FILE", "./url")], url(FROM_FILE));
    with(secret, "", &[("DATABASE_PRIMARY_URL_FILE", "url")], url(FROM_FILE));
    with(secret, "[default.databases.primary]\nurl_file = './url'", &[], url(FROM_FILE));
    // The one that overrides the other counts.
    let file = "[default.databases.primary]\nurl = 'postgres://app:hunter2@toml/app'";
    with(secret, file, &[("DATABASE_URL_FILE", "./url")], url(FROM_FILE));
    with(
        secret,
        &format!("{file}\n[live.databases.primary]\nurl_file = './url'"),
        &[("POOL_PROFILE", "live")],
        url(FROM_FILE),
    );
    with(secret, "[default.databases.primary]\nurl_file = './url'", &[URL], url(URL.1));
    // A password belongs to whatever url counts.
    let app = ("DATABASE_URL", "postgres://app@db/app");
    with(secret, "", &[app, ("DATABASE_PASSWORD_FILE", "./password")], url(URL.1));
    with(secret, "", &[("DATABASE_URL_FILE", "./url"), ("DATABASE_PASSWORD_FILE", "./password")], url(FROM_FILE));
    with(secret, "[default.databases.primary]\npassword_file = './password'", &[app], url(URL.1));

    let refused = |expected: &'static str| {
        move |settings: Result<DatabaseSettings, ConfigError>| {
            let error = settings.expect_err(expected);
            let shown = format!("{error} {error:?}");
            assert!(error.to_string().starts_with(expected) && !shown.contains("hunter2"), "{expected}: {shown}");
        }
    };
    with(
        secret,
        "",
        &[URL, ("DATABASE_URL_FILE", "./url")],
        refused("DATABASE_URL_FILE: the url is given by DATABASE_URL, too; keep one of them"),
    );
    let missing = "DATABASE_PASSWORD_FILE: /nowhere/db cannot be read: No such file";
    with(&[], "", &[app, ("DATABASE_PASSWORD_FILE", "/nowhere/db")], refused(missing));
    // It may be the secret itself.
    let itself =
        "DATABASE_PASSWORD_FILE: the file (a path that begins with neither / nor ./ is not quoted) cannot be read";
    with(&[], "", &[app, ("DATABASE_PASSWORD_FILE", "hunter2")], refused(itself));
    with(
        &[],
        "",
        &[("DATABASE_URL_FILE", "postgres://app:hunter2@db/app")],
        refused("DATABASE_URL_FILE: the file (a path"),
    );
    with(
        &[],
        "",
        &[("DATABASE_URL_FILE", "/postgres://app:hunter2@db/app")],
        refused("DATABASE_URL_FILE: *** cannot be read"),
    );
    with(&[("url", "\n")], "", &[("DATABASE_URL_FILE", "./url")], refused("DATABASE_URL_FILE: ./url is empty"));
    with(
        &[("url", "hunter2")],
        "",
        &[("DATABASE_URL_FILE", "./url")],
        refused("DATABASE_URL_FILE: in ./url: expected a url such as"),
    );
    with(
        &[("password", "hunter2\0")],
        "",
        &[app, ("DATABASE_PASSWORD_FILE", "./password")],
        refused("DATABASE_PASSWORD_FILE: ./password has a NUL"),
    );
    with(&[], "", &[app, ("DATABASE_PASSWORD_FILE", ".")], refused("DATABASE_PASSWORD_FILE: . cannot be read"));
    jail("", &[], |jail| {
        jail.create_file("password", "hunter2").expect("written");
        let settings =
            DatabaseSettings::new("sqlite::memory:").expect("a url").with_password_file("./password").expect("read");
        let error = SqlitePool::connect_lazy(settings).expect_err("there are no passwords").to_string();
        assert!(error.contains("SQLite cannot honour password_file; leave it out"), "{error}");
    });
}
