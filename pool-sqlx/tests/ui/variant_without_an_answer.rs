use pool_sqlx::{Error, ServiceError};

#[derive(Debug, ServiceError)]
enum ApiError {
    #[service(database)]
    Pool(Error),
    NoTrack(i64),
    #[service(status = 200)]
    Fine,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

impl std::error::Error for ApiError {}

fn main() {}
