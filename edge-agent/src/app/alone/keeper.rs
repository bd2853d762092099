//! Carries out loads and unloads of the one package: each is a new desired state, reconciled as any other.

use std::path::PathBuf;

use millwright_proto::ids::{Generation, ModelName};
use millwright_proto::link::{Applied, SlotState, SlotStatus};
use tokio::sync::{mpsc, watch};

use crate::control::chain;
use crate::desired::Plan;
use crate::local;
use crate::serving::repository::{Order, Wanted};

/// What is wanted, and whether it came about.
pub(super) struct Keeper {
    pub(super) model: ModelName,
    pub(super) package: PathBuf,
    pub(super) trust_keys: Vec<PathBuf>,
    pub(super) wanted: watch::Sender<(Generation, Plan)>,
    pub(super) applied: watch::Receiver<Applied>,
}

impl Keeper {
    /// Takes one order after the other.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            let outcome = match order.wanted {
                Wanted::Load => self.load().await,
                Wanted::Unload => {
                    self.want(Plan::default());
                    self.settled(|slot| slot.is_none().then_some(Ok(()))).await
                }
            };
            // An error means that nobody waits for it any more.
            let _ = order.done.send(outcome);
        }
    }

    async fn load(&mut self) -> Result<(), String> {
        let (package, keys) = (self.package.clone(), self.trust_keys.clone());
        let read = tokio::task::spawn_blocking(move || local::plan(&package, &keys)).await;
        let read = read.map_err(|error| error.to_string())?;
        let (plan, _trust) = read.map_err(|error| chain(&error))?;
        if !plan.packages.contains_key(&self.model) {
            return Err(format!(
                "{} holds another model now: start the agent again to serve it instead of `{}`",
                self.package.display(),
                self.model
            ));
        }
        self.want(plan);
        self.settled(|slot| {
            let slot = slot?;
            match slot.state() {
                SlotState::Active => Some(Ok(())),
                SlotState::Failed => Some(Err(slot.message.clone())),
                _ => None,
            }
        })
        .await
    }

    fn want(&self, plan: Plan) {
        self.wanted.send_modify(|(generation, wanted)| {
            *generation = generation.next();
            *wanted = plan;
        });
    }

    /// Waits until `judge` says what became of the model's slot under the generation that is wanted.
    async fn settled(
        &mut self,
        judge: impl Fn(Option<&SlotStatus>) -> Option<Result<(), String>>,
    ) -> Result<(), String> {
        let generation = self.wanted.borrow().0.get();
        let model = self.model.as_str();
        let mut outcome = None;
        let reached = |applied: &Applied| {
            if applied.generation != generation {
                return false;
            }
            let slot = applied.slots.iter().find(|slot| slot.model == model);
            outcome = judge(slot);
            outcome.is_some()
        };
        let waited = self.applied.wait_for(reached).await.is_ok();
        outcome
            .filter(|_| waited)
            .unwrap_or_else(|| Err("the agent is ending".to_owned()))
    }
}
