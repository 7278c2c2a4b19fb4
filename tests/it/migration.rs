//! Migrations: up, down, up again, from several places at once.

use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use patchbay::db::migration::{self, Direction};

use crate::harness::{fresh_database, server};

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = diesel::sql_types::Text)]
    line: String,
}

/// Everything in the database that a migration could make.
async fn catalogue(connection: &mut diesel_async::AsyncPgConnection) -> Vec<String> {
    let rows: Vec<Line> = diesel::sql_query(
        "SELECT format('%s %s', relkind, relname) AS line FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE '\\_\\_diesel%'
         UNION ALL SELECT format('function %s', proname) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
         UNION ALL SELECT format('policy %s on %s: %s %s', polname, polrelid::regclass, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy
         UNION ALL SELECT format('constraint %s: %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> '__diesel_schema_migrations'::regclass
         ORDER BY 1",
    )
    .load(connection)
    .await
    .unwrap();
    rows.into_iter().map(|row| row.line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_migration_can_be_taken_back_and_run_again() {
    let database = fresh_database().await;
    let mut connection = database.owner.connect().await.unwrap();
    let before = catalogue(&mut connection).await;
    assert!(before.len() > 40);
    let down = migration::migrate(&database.owner, Direction::Down).await.unwrap();
    assert_eq!(catalogue(&mut connection).await, Vec::<String>::new());
    let up = migration::migrate(&database.owner, Direction::Up).await.unwrap();
    assert_eq!(down.len(), up.len());
    assert_eq!(catalogue(&mut connection).await, before);
    assert_eq!(migration::migrate(&database.owner, Direction::Up).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_migrate_at_once_do_it_once() {
    let empty = server().with_database("test_race");
    migration::create_database(&empty).await.unwrap();
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let empty = empty.clone();
            tokio::spawn(async move { migration::migrate(&empty, Direction::Up).await.unwrap().len() })
        })
        .collect();
    let mut done = Vec::new();
    for run in runs {
        done.push(run.await.unwrap());
    }
    done.sort_unstable();
    assert!(done[3] > 0 && done[..3] == [0, 0, 0], "{done:?}");
}

/// A login that may not make roles is told what an administrator must run; after that it can migrate.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_may_not_make_roles_is_told_what_to_do() {
    let mut admin = server().with_database("postgres").connect().await.unwrap();
    // Roles are the server's: where they are there already, nobody needs to make them. Other tests have made them.
    for statement in [
        "DO $$ BEGIN CREATE ROLE test_owner LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "REVOKE patchbay_app, patchbay_system, patchbay_operator FROM test_owner",
        "CREATE DATABASE test_plain_owner OWNER test_owner",
    ] {
        admin.batch_execute(statement).await.unwrap();
    }
    let database = server().with_database("test_plain_owner").with_user("test_owner");
    let refused = migration::migrate(&database, Direction::Up).await.unwrap_err().to_string();
    assert!(refused.contains("must have admin option on role"), "{refused}");
    assert!(refused.contains("GRANT patchbay_app, patchbay_system, patchbay_operator TO"), "{refused}");
    admin
        .batch_execute("GRANT patchbay_app, patchbay_system, patchbay_operator TO test_owner WITH ADMIN OPTION")
        .await
        .unwrap();
    assert!(!migration::migrate(&database, Direction::Up).await.unwrap().is_empty());
}
