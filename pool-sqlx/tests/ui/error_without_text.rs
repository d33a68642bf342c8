use pool_sqlx::{
    ServiceError,
    axum::response::{IntoResponse, Response},
};

#[derive(Debug, ServiceError)]
enum NoText {
    #[service(status = 404)]
    NoTrack(i64),
    #[service(status = 409)]
    Taken,
}

#[derive(Debug, ServiceError)]
#[service(own_response)]
enum NoError {
    #[service(database)]
    Text(String),
    #[service(database, not_found = 404)]
    Bytes { source: Vec<u8> },
}

impl std::fmt::Display for NoError {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

impl std::error::Error for NoError {}

impl IntoResponse for NoError {
    fn into_response(self) -> Response {
        self.failure().into_response()
    }
}

fn main() {}
