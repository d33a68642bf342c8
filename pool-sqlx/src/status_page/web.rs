//! Mounting the page: one line in axum, one in actix-web.

use super::StatusPage;
use std::borrow::Cow;

impl StatusPage {
    /// Routes for that path: `Router::new().merge(page.axum("/pool"))`. `"/"` is for a listener that serves nothing else.
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn axum<S: Clone + Send + Sync + 'static>(&self, path: &str) -> axum::Router<S> {
        use axum::{
            Router,
            body::Body,
            extract::RawQuery,
            http::{HeaderName, HeaderValue, Response, header},
            routing::get,
        };
        let value = HeaderValue::from_static;
        let mut router = Router::new();
        for (path, part) in parts(path) {
            let page = self.clone();
            let answer = async move |RawQuery(query): RawQuery| {
                let mut response = Response::new(Body::from(page.body(part, query.as_deref().unwrap_or_default())));
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, value(part.media_type()));
                headers.extend(Self::HEADERS.map(|(name, text)| (HeaderName::from_static(name), value(text))));
                response
            };
            router = router.route(&path, get(answer));
        }
        router
    }

    /// The same for actix-web: `App::new().configure(page.actix("/pool"))`. Make the page outside of the closure that makes the `App`, which
    /// runs once for each worker.
    #[cfg(feature = "actix")]
    #[cfg_attr(docsrs, doc(cfg(feature = "actix")))]
    pub fn actix(&self, path: &str) -> impl FnOnce(&mut actix_web::web::ServiceConfig) + use<> {
        use actix_web::{HttpRequest, HttpResponse, web};
        let (page, parts) = (self.clone(), parts(path));
        move |config| {
            for (path, part) in parts {
                let page = page.clone();
                let answer = move |request: HttpRequest| {
                    let body = page.body(part, request.uri().query().unwrap_or_default());
                    let mut response = HttpResponse::Ok();
                    for header in Self::HEADERS {
                        response.insert_header(header);
                    }
                    std::future::ready(response.content_type(part.media_type()).body(body.into_owned()))
                };
                let (get, head) = (web::get().to(answer.clone()), web::head().to(answer));
                config.service(web::resource(path).route(get).route(head));
            }
        }
    }

    fn body(&self, part: Part, query: &str) -> Cow<'static, str> {
        match part {
            Part::Page => Self::HTML.into(),
            Part::Document => self.json(query).into(),
        }
    }
}

/// What there is to see.
#[derive(Clone, Copy)]
enum Part {
    Page,
    Document,
}

impl Part {
    fn media_type(self) -> &'static str {
        match self {
            Self::Page => "text/html; charset=utf-8",
            Self::Document => "application/json",
        }
    }
}

/// The page is there with a slash at its end and without one, and finds its document either way.
fn parts(path: &str) -> Vec<(String, Part)> {
    let prefix = path.trim_end_matches('/');
    let mut parts = vec![(format!("{prefix}/"), Part::Page), (format!("{prefix}/status.json"), Part::Document)];
    if !prefix.is_empty() {
        parts.push((prefix.to_owned(), Part::Page));
    }
    parts
}

#[cfg(all(test, feature = "sqlite", feature = "axum", feature = "actix"))]
mod tests {
    use super::*;
    use crate::{DatabaseSettings, SqlitePool};

    fn page() -> StatusPage {
        StatusPage::of(&SqlitePool::connect_lazy(DatabaseSettings::new("sqlite::memory:").unwrap()).unwrap())
    }

    /// What an address answers: status, media type, and how the body begins.
    type Answered = (u16, String, String);

    fn answered(status: u16, media_type: &str, body: &[u8]) -> Answered {
        (status, media_type.into(), String::from_utf8_lossy(body).chars().take(15).collect())
    }

    async fn by_axum(app: &axum::Router, method: &str, path: &str) -> Answered {
        use tower::ServiceExt;
        let request = axum::http::Request::builder().method(method).uri(path).body(axum::body::Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        if status == 200 {
            for (name, value) in StatusPage::HEADERS {
                assert_eq!(response.headers()[name], value, "{path}");
            }
        }
        let media_type = response.headers().get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
        let body = axum::body::to_bytes(response.into_body(), 1_000_000).await.unwrap();
        answered(status, &media_type, &body)
    }

    async fn by_actix(page: &StatusPage, prefix: &str, method: &str, path: &str) -> Answered {
        use actix_web::{App, http::Method, test};
        let app = test::init_service(App::new().configure(page.actix(prefix))).await;
        let request = test::TestRequest::with_uri(path).method(Method::from_bytes(method.as_bytes()).unwrap());
        let response = test::call_service(&app, request.to_request()).await;
        let status = response.status().as_u16();
        if status == 200 {
            for (name, value) in StatusPage::HEADERS {
                assert_eq!(response.headers().get(name).unwrap(), value, "{path}");
            }
        }
        let media_type = response.headers().get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
        answered(status, &media_type, &test::read_body(response).await)
    }

    #[actix_web::test]
    async fn both_addresses_answer_under_any_prefix_with_and_without_a_slash() {
        let page = page();
        let html = || answered(200, "text/html; charset=utf-8", StatusPage::HTML.as_bytes());
        let json = |beginning: &[u8]| answered(200, "application/json", beginning);
        for prefix in ["/pool", "/admin/database/pools", "/pool/", "/"] {
            let app = axum::Router::new().merge(page.axum(prefix));
            for (path, expected) in [
                ("", html()),
                ("/", html()),
                ("/status.json", json(br#"{"now_unix_seco"#)),
                ("/status.json?since=0", json(br#"{"history":{"ne"#)),
            ] {
                let path = format!("{}{path}", prefix.trim_end_matches('/'));
                if path.is_empty() {
                    continue;
                }
                assert_eq!(by_axum(&app, "GET", &path).await, expected, "axum {path}");
                assert_eq!(by_actix(&page, prefix, "GET", &path).await, expected, "actix {path}");
                assert_eq!(by_axum(&app, "HEAD", &path).await.0, 200, "axum {path}");
                assert_eq!(by_actix(&page, prefix, "HEAD", &path).await.0, 200, "actix {path}");
                for asked in [by_axum(&app, "POST", &path).await, by_actix(&page, prefix, "POST", &path).await] {
                    assert!(matches!(asked.0, 404 | 405), "{path}: {asked:?}");
                }
            }
            let other = format!("{prefix}/passwords");
            assert_eq!(
                (by_axum(&app, "GET", &other).await.0, by_actix(&page, prefix, "GET", &other).await.0),
                (404, 404)
            );
        }
    }
}
