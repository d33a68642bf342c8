//! Mounting the page: one line in axum, one in actix-web.

use super::StatusPage;
use std::borrow::Cow;

impl StatusPage {
    /// Routes for that path: `Router::new().merge(page.axum("/pool"))`. `"/"` is for a listener that serves nothing else.
    #[cfg(feature = "axum")]
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
        for (path, media_type, body) in parts(path) {
            let page = self.clone();
            let answer = async move |RawQuery(query): RawQuery| {
                let mut response = Response::new(Body::from(body(&page, query.as_deref().unwrap_or_default())));
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, value(media_type));
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
    pub fn actix(&self, path: &str) -> impl FnOnce(&mut actix_web::web::ServiceConfig) + use<> {
        use actix_web::{HttpRequest, HttpResponse, web};
        let (page, parts) = (self.clone(), parts(path));
        move |config| {
            for (path, media_type, body) in parts {
                let page = page.clone();
                let answer = move |request: HttpRequest| {
                    let body = body(&page, request.uri().query().unwrap_or_default());
                    let mut response = HttpResponse::Ok();
                    for header in Self::HEADERS {
                        response.insert_header(header);
                    }
                    std::future::ready(response.content_type(media_type).body(body.into_owned()))
                };
                let (get, head) = (web::get().to(answer.clone()), web::head().to(answer));
                config.service(web::resource(path).route(get).route(head));
            }
        }
    }
}

/// A path, the media type of what is there, and how its body is made for a query.
type Part = (String, &'static str, fn(&StatusPage, &str) -> Cow<'static, str>);

/// The page is there with a slash at its end and without one, and finds its document either way.
fn parts(path: &str) -> Vec<Part> {
    let prefix = path.trim_end_matches('/');
    let page = |path| -> Part { (path, "text/html; charset=utf-8", |_, _| StatusPage::HTML.into()) };
    let document: Part = (format!("{prefix}/status.json"), "application/json", |page, query| page.json(query).into());
    let mut parts = vec![page(format!("{prefix}/")), document];
    if !prefix.is_empty() {
        parts.push(page(prefix.to_owned()));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatabaseSettings, SqlitePool};
    use axum::http::HeaderMap;

    fn page() -> StatusPage {
        let settings = DatabaseSettings::new("sqlite::memory:").expect("a good url");
        StatusPage::of(&SqlitePool::connect_lazy(settings).expect("good settings"))
    }

    /// Status, media type, and what the body is.
    type Answered = (u16, String, &'static str);

    fn answered(status: u16, header: impl Fn(&str) -> Option<String>, body: &[u8]) -> Answered {
        let document: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let what = match document.get("schema") {
            Some(_) if document.get("history").is_some() => "numbers and history",
            Some(_) => "numbers",
            None if body == StatusPage::HTML.as_bytes() => "page",
            None => "nothing",
        };
        if what != "nothing" {
            for (name, value) in StatusPage::HEADERS {
                assert_eq!(header(name).as_deref(), Some(value));
            }
        }
        (status, header("content-type").unwrap_or_default(), what)
    }

    async fn by_axum(app: &axum::Router, method: &str, path: &str) -> Answered {
        use axum::{body, http::Request};
        let request = Request::builder().method(method).uri(path).body(body::Body::empty()).expect("a good request");
        let Ok(response) = tower::ServiceExt::oneshot(app.clone(), request).await;
        let (parts, body) = response.into_parts();
        let body = body::to_bytes(body, 1_000_000).await.expect("a whole body");
        let text = |headers: &HeaderMap, name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        answered(parts.status.as_u16(), |name| text(&parts.headers, name), &body)
    }

    async fn by_actix(page: &StatusPage, prefix: &str, method: &str, path: &str) -> Answered {
        use actix_web::{App, http::Method, test};
        let app = test::init_service(App::new().configure(page.actix(prefix))).await;
        let method = Method::from_bytes(method.as_bytes()).expect("a good method");
        let request = test::TestRequest::with_uri(path).method(method).to_request();
        let (_, response) = test::call_service(&app, request).await.into_parts();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = actix_web::body::to_bytes(response.into_body()).await.unwrap_or_default();
        answered(status, |name| Some(headers.get(name)?.to_str().ok()?.to_owned()), &body)
    }

    #[actix_web::test]
    async fn both_addresses_answer_under_any_prefix_with_and_without_a_slash() {
        let page = page();
        let html = || (200, "text/html; charset=utf-8".to_owned(), "page");
        let json = |what| (200, "application/json".to_owned(), what);
        for prefix in ["/pool", "/admin/database/pools", "/pool/", "/"] {
            let app = axum::Router::new().merge(page.axum(prefix));
            for (path, expected) in [
                ("", html()),
                ("/", html()),
                ("/status.json", json("numbers")),
                ("/status.json?a=1&since=0", json("numbers and history")),
                ("/status.json?since=soon", json("numbers")),
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
            let answers = (by_axum(&app, "GET", &other).await.0, by_actix(&page, prefix, "GET", &other).await.0);
            assert_eq!(answers, (404, 404), "{other}");
        }
    }
}
