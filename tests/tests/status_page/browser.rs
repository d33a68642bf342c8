//! A tab of a real browser: what it shows, asks for, and complains about.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::Chromium;

/// How long anything may take. A page is there within a second on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Tab {
    browser: Chromium,
    session: Option<String>,
    calls: u64,
    events: Vec<Value>,
}

impl Tab {
    pub(crate) fn open() -> Self {
        let browser = Chromium::start().expect("a browser");
        let mut tab = Self { browser, session: None, calls: 0, events: Vec::new() };
        let target = tab.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        tab.session = tab.call("Target.attachToTarget", attach)["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), json!({}));
        }
        tab
    }

    pub(crate) fn go(&mut self, url: &str) {
        let gone = self.call("Page.navigate", json!({ "url": url }));
        assert_eq!(gone.get("errorText"), None, "{url}");
    }

    /// The size of the window, and whether the system is light or dark.
    pub(crate) fn screen(&mut self, width: u32, scheme: &str) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", scheme);
    }

    /// The value of an expression in the page.
    pub(crate) fn js(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", ask);
        assert_eq!(answer.get("exceptionDetails"), None, "{expression}");
        answer["result"]["value"].clone()
    }

    /// What an element shows.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let shown = self.js(&format!("[...document.querySelectorAll({selector:?})].map(e => e.innerText).join('\\n')"));
        shown.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    pub(crate) fn until(&mut self, expression: &str) {
        let begun = Instant::now();
        // The page changes when it has asked the service, for which it has a rhythm of its own.
        let look = json!({ "expression": format!("new Promise(done => {{
            const look = () => {{ let is; try {{ is = !!({expression}) }} catch {{ is = false }} if (is) done(true) }};
            new MutationObserver(look).observe(document, {{ subtree: true, childList: true, characterData: true, attributes: true }});
            setTimeout(() => done(false), 5000);
            look();
        }})"), "awaitPromise": true });
        while self.call("Runtime.evaluate", look.clone())["result"]["value"] != true {
            let page = self.text("body");
            assert!(begun.elapsed() < LIMIT, "this has not come true: {expression}\n{page}\n{:?}", self.complaints());
        }
    }

    /// A picture of the whole page, as WebP.
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let taken = self
            .call("Page.captureScreenshot", json!({ "captureBeyondViewport": true, "format": "webp", "quality": 80 }));
        STANDARD.decode(taken["data"].as_str().expect("a picture")).expect("base64")
    }

    /// Where the tab has asked for something.
    pub(crate) fn requests(&mut self) -> Vec<String> {
        self.told("Network.requestWillBeSent", |event| event["request"]["url"].clone())
    }

    /// What was written to the console, forbidden by the policy, or thrown.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        let mut complaints = self.told("Log.entryAdded", |event| event["entry"]["text"].clone());
        complaints.extend(self.told("Runtime.consoleAPICalled", |event| event["args"].clone()));
        complaints.extend(self.told("Runtime.exceptionThrown", |event| event["exceptionDetails"].clone()));
        complaints
    }

    fn told(&mut self, method: &str, what: impl Fn(&Value) -> Value) -> Vec<String> {
        // Whatever was told before this is answered has arrived then.
        self.call("Runtime.evaluate", json!({ "expression": "0" }));
        let events = self.events.iter().filter(|event| event["method"] == method);
        events
            .map(|event| what(&event["params"]))
            .map(|what| what.as_str().map_or(what.to_string(), str::to_owned))
            .collect()
    }

    /// Calls a method of the DevTools protocol.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.browser.send(&message.to_string()).expect("the browser listens");
        loop {
            let answer = self.browser.receive(LIMIT).expect("the browser answers");
            let answer: Value = serde_json::from_str(&answer).expect("JSON");
            if answer["id"] == self.calls {
                assert_eq!(answer.get("error"), None, "{method}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }
}
