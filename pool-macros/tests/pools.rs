//! What `#[derive(Pools)]` gives, on a run time that only writes down what happened.
#![deny(warnings)]
#![warn(clippy::pedantic)]

mod mock;

use mock::{
    CloseReport, DatabaseSettings, Error, Log, Main, Pool, Sqlite, SqlitePool, Status, axum::extract::FromRef,
    figment::Figment, now,
};
use pool_macros::{HasPools, Pools};

struct Reports;
struct Cache;

#[derive(Clone, Pools)]
#[pools(crate = crate::mock)]
struct Databases {
    primary: SqlitePool,
    #[pool(section = "reports", lazy)]
    replica: SqlitePool<Reports>,
}

fn figment(sections: &[(&'static str, &'static str)]) -> Figment {
    Figment { sections: sections.to_vec(), log: Log::default() }
}

#[test]
fn every_field_is_a_section() {
    assert_eq!(Databases::SECTIONS, ["primary", "reports"]);
}

#[test]
fn all_sections_are_read_before_a_pool_is_made() {
    let figment = figment(&[("primary", "works"), ("reports", "works")]);
    let databases = now(Databases::connect_with(&figment)).expect("both work");
    let told = ["read primary", "read reports", "make primary", "make reports", "ready?"];
    assert_eq!(figment.log.told(), told, "a lazy pool is not asked whether it is ready");
    assert_eq!(databases.status(), [("primary", Status("up")), ("reports", Status("up"))]);
}

#[test]
fn a_faulty_section_does_not_hide_the_next() {
    let figment = figment(&[("reports", "works")]);
    assert_eq!(now(Databases::connect_with(&figment)).err(), Some(Error("a section is missing")));
    assert_eq!(figment.log.told(), ["read primary", "read reports"]);
}

#[test]
fn pools_that_did_connect_are_closed_when_one_does_not() {
    let figment = figment(&[("primary", "fails"), ("reports", "works")]);
    assert_eq!(now(Databases::connect_with(&figment)).err(), Some(Error("refused")));
    assert_eq!(figment.log.told()[4..], ["ready?", "close", "close"]);
}

#[test]
fn connect_reads_the_usual_places() {
    let databases = now(Databases::connect()).expect("the mock's figment works");
    let closed = now(databases.close());
    assert_eq!(closed, [("primary", CloseReport(7)), ("reports", CloseReport(7))]);
}

#[test]
fn the_connect_future_is_send() {
    fn send<F: Send>(_: F) {}
    send(Databases::connect_with(&DatabaseSettings::figment_for(Databases::SECTIONS)));
}

#[test]
fn a_state_gives_each_pool_by_its_type() {
    let databases = now(Databases::connect()).expect("the mock's figment works");
    let primary: Pool<Sqlite, Main> = FromRef::from_ref(&databases);
    let replica: Pool<Sqlite, Reports> = FromRef::from_ref(&databases);
    primary.log.say("through the copy");
    assert_eq!(replica.log.told().last().map(String::as_str), Some("through the copy"));
}

#[test]
fn an_actix_application_is_given_each_pool() {
    let databases = now(Databases::connect()).expect("the mock's figment works");
    let mut config = mock::actix_web::web::ServiceConfig::default();
    databases.configure(&mut config);
    assert!(config.0[0].is::<SqlitePool>() && config.0[1].is::<SqlitePool<Reports>>());
}

#[test]
fn all_pools_are_ready_if_each_is() {
    let sections = |reports| figment(&[("primary", "works"), ("reports", reports)]);
    let ready = |reports| now(now(Databases::connect_with(&sections(reports))).expect("a lazy pool").ready());
    assert_eq!((ready("works"), ready("fails")), (Ok(()), Err(Error("refused"))));
}

/// One field, none of it at start, a raw name, generics.
#[derive(Pools)]
#[pools(crate = crate::mock)]
struct One<K: 'static> {
    #[pool(lazy)]
    r#type: Pool<Sqlite, K>,
}

#[test]
fn one_lazy_pool_of_a_generic_key_connects() {
    let figment = figment(&[("type", "fails")]);
    let one = now(One::<Cache>::connect_with(&figment)).expect("nothing is asked of a lazy pool");
    assert_eq!(one.status(), [("type", Status("down"))]);
}

#[derive(HasPools)]
#[pools(crate = crate::mock)]
struct App<'a, T>
where
    T: Copy,
{
    #[pools]
    databases: Databases,
    _other: &'a T,
}

#[test]
fn a_state_gives_the_pools_of_its_field() {
    let databases = now(Databases::connect()).expect("the mock's figment works");
    let app = App { databases, _other: &7 };
    let replica: SqlitePool<Reports> = FromRef::from_ref(&app);
    replica.log.say("through the copy");
    assert_eq!(app.databases.primary.log.told().last().map(String::as_str), Some("through the copy"));
}
