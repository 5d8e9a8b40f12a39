//! A program that embeds the runner: a capability of its own, grants of its own, and a script's function that is called
//! with values from a pool of instances.

use assay_capability_api::scope::NameScope;
use assay_capability_api::types::ErrorCode;
use assay_capability_api::{
    Capability, Extension, GrantError, Limits, Pending, Policy, Request, Required, Run, RunState, Scope,
    error, policy,
};
use assay_runner::{Ended, Input, RunOutcome, RunSpec, Runner, Script};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Prices of goods, for scripts: `prices.of(NAME)`.
struct Prices;

impl Capability for Prices {
    fn name(&self) -> &'static str {
        "prices"
    }

    fn summary(&self) -> &'static str {
        "prices of goods"
    }

    fn scope(&self, text: &str, _: &Path) -> Result<Box<dyn Scope>, GrantError> {
        Ok(Box::new(NameScope::new(text)))
    }
}

impl Extension for Prices {
    fn functions(&self) -> &'static [&'static str] {
        &["of"]
    }

    fn call<'a>(&'a self, run: &'a Arc<Run>, _: &'a str, arguments: String) -> Pending<'a> {
        Box::pin(async move {
            let (name,): (String,) = serde_json::from_str(&arguments)
                .map_err(|_| error(ErrorCode::InvalidArgument, "prices.of takes the name of a good"))?;
            run.check("prices", &Request::Name(&name))?;
            tokio::task::yield_now().await;
            Ok(json!({ "name": name, "cents": 100 * name.len() }).to_string())
        })
    }
}

const SCRIPT: &str = r#"
local shop = {}
function shop.total(order)
  local sum = 0
  for _, item in ipairs(order.items) do
    sum = sum + prices.of(item.name).cents * item.count
  end
  return { cents = sum, id = order.id }
end
return shop
"#;

fn spec(allow: &str) -> RunSpec {
    let mut granted = Policy::default();
    granted.allow(policy::parse(allow, Path::new("/"), &[&Prices]).unwrap());
    RunSpec::new(RunState { limits: Limits::hosted(), ..RunState::new(granted, "/".into()) }.into())
}

fn runner() -> Runner {
    crate::runner().with_extensions(&[&Prices])
}

async fn total(runner: Runner, script: Script, good: &str, count: u64, allow: &str) -> RunOutcome {
    let order = json!({ "id": count, "items": [{ "name": good, "count": count }] });
    runner.run(&script, Input::call("total", &order).unwrap(), spec(allow)).await
}

#[tokio::test]
async fn a_function_is_called_a_thousand_times_from_a_pool() {
    let (runner, script) = (runner(), Script::new("shop.lua", SCRIPT.as_bytes()));
    for round in 0..125 {
        let calls = (8 * round..8 * round + 8).map(|count| {
            let call = total(runner.clone(), script.clone(), "apple", count, "prices=app*");
            (count, tokio::spawn(call))
        });
        for (count, call) in calls.collect::<Vec<_>>() {
            let outcome = call.await.unwrap();
            let total: Option<Value> = outcome.result().unwrap();
            assert_eq!(total, Some(json!({ "cents": 500 * count, "id": count })), "{outcome:?}");
        }
    }
}

fn failure(outcome: &RunOutcome) -> (&str, Option<&str>) {
    match &outcome.ended {
        Ended::Failed(failure) => (&failure.message, failure.code.as_deref()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_fails_is_told() {
    let script = Script::new("shop.lua", SCRIPT.as_bytes());
    let denied = total(runner(), script.clone(), "pear", 1, "prices=app*").await;
    let (message, code) = failure(&denied);
    assert!(message.contains("pear") && message.contains("--allow prices=pear"), "{message}");
    assert_eq!(code, Some("denied"));

    let input = Input::call("sum", &Value::Null).unwrap();
    let missing = runner().run(&script, input.clone(), spec("prices")).await;
    assert_eq!(failure(&missing).0, "the script has no function 'sum'");
    let other = Script::new("number.lua", "return 1".as_bytes());
    let other = runner().run(&other, input, spec("prices")).await;
    assert_eq!(failure(&other).0, "the script has no function 'sum': it returns no table but number");
}

/// What [`Orders`] needs of the program around it.
trait Shop: Send + Sync {
    fn name(&self) -> String;
}

struct Corner;

impl Shop for Corner {
    fn name(&self) -> String {
        "corner".into()
    }
}

/// A capability that cannot do without a service.
struct Orders;

impl Capability for Orders {
    fn name(&self) -> &'static str {
        "orders"
    }

    fn summary(&self) -> &'static str {
        "orders of a shop"
    }

    fn requires(&self) -> &'static [Required] {
        const NEEDS: &[Required] = &[Required::of::<dyn Shop>("a shop")];
        NEEDS
    }
}

impl Extension for Orders {
    fn functions(&self) -> &'static [&'static str] {
        &[]
    }

    fn call<'a>(&'a self, _: &'a Arc<Run>, function: &'a str, _: String) -> Pending<'a> {
        Box::pin(async move { Err(error(ErrorCode::NotFound, format!("orders.{function}"))) })
    }
}

#[tokio::test]
async fn a_run_that_lacks_a_service_does_not_start() {
    let runner = crate::runner().with_extensions(&[&Orders]);
    let script = Script::new("x.lua", "return 'ran'".as_bytes());
    let spec = |granted: bool, offered: bool| {
        let mut policy = Policy::default();
        if granted {
            policy.allow(policy::parse("orders", Path::new("/"), &[&Orders]).unwrap());
        }
        let mut spec = RunSpec::new(Run::new(policy, "/".into()));
        if offered {
            let shop: Arc<dyn Shop> = Arc::new(Corner);
            assert_eq!(shop.name(), "corner");
            spec.services.offer(shop);
        }
        spec
    };
    let refused = runner.run(&script, Input::default(), spec(true, false)).await;
    assert_eq!(failure(&refused).0, "orders is granted, but needs a shop, which this program does not offer");
    for (granted, offered) in [(true, true), (false, false)] {
        let ran = runner.run(&script, Input::default(), spec(granted, offered)).await;
        assert!(matches!(&ran.ended, Ended::Returned(returned) if returned.values == ["ran"]), "{ran:?}");
    }
}
