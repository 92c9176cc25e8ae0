//! What a client may do on a channel of its connection: declare, ask for confirms, publish.

use super::refusal::Refusal;
use super::session::Session;
use crate::amqp::{Frame, Method, basic, channel, confirm, exchange, queue};

impl Session {
    /// Does what `method` asks for on an open channel.
    ///
    /// # Errors
    /// What the door does not offer (540), or what the method itself is refused for.
    pub(super) fn work(&mut self, number: u16, method: Method) -> Result<(), Refusal> {
        match &method {
            Method::Channel(channel::AMQPMethod::Close(_)) => {
                self.close_lane(number);
                Ok(())
            }
            Method::Channel(channel::AMQPMethod::Flow(flow)) => {
                let active = flow.active;
                let flow = channel::AMQPMethod::FlowOk(channel::FlowOk { active });
                self.answer(number, Method::Channel(flow), false);
                Ok(())
            }
            Method::Queue(asked) => self.queue(number, asked),
            Method::Exchange(asked) => self.exchange(number, asked),
            Method::Confirm(confirm::AMQPMethod::Select(select)) => {
                self.confirms(number, select.nowait);
                Ok(())
            }
            Method::Basic(basic::AMQPMethod::Publish(publish)) => self.publish(number, publish),
            Method::Basic(basic::AMQPMethod::Qos(_)) => {
                let done = basic::AMQPMethod::QosOk(basic::QosOk {});
                self.answer(number, Method::Basic(done), false);
                Ok(())
            }
            other => Err(Refusal::not_offered(other)),
        }
        .map_err(|refusal| refusal.about(&method))
    }

    fn queue(&mut self, number: u16, asked: &queue::AMQPMethod) -> Result<(), Refusal> {
        match asked {
            queue::AMQPMethod::Declare(declare) => {
                let name = declare.queue.as_str();
                let name = self.house().declared().queue(name, declare.passive)?;
                let done = queue::DeclareOk {
                    queue: crate::amqp::message::cut(&name),
                    message_count: 0,
                    consumer_count: 0,
                };
                let done = Method::Queue(queue::AMQPMethod::DeclareOk(done));
                self.answer(number, done, declare.nowait);
                Ok(())
            }
            // Everything goes to our channels whatever is bound to what.
            queue::AMQPMethod::Bind(bind) => {
                let done = Method::Queue(queue::AMQPMethod::BindOk(queue::BindOk {}));
                self.answer(number, done, bind.nowait);
                Ok(())
            }
            other => Err(Refusal::not_offered(&Method::Queue(other.clone()))),
        }
    }

    fn exchange(&mut self, number: u16, asked: &exchange::AMQPMethod) -> Result<(), Refusal> {
        let exchange::AMQPMethod::Declare(declare) = asked else {
            return Err(Refusal::not_offered(&Method::Exchange(asked.clone())));
        };
        let (name, kind) = (declare.exchange.as_str(), declare.kind.as_str());
        self.house()
            .declared()
            .exchange(name, kind, declare.passive)?;
        let done = exchange::AMQPMethod::DeclareOk(exchange::DeclareOk {});
        self.answer(number, Method::Exchange(done), declare.nowait);
        Ok(())
    }

    fn confirms(&mut self, number: u16, nowait: bool) {
        if let Some(lane) = self.lane(number) {
            lane.confirms.get_or_insert(0);
        }
        let done = confirm::AMQPMethod::SelectOk(confirm::SelectOk {});
        self.answer(number, Method::Confirm(done), nowait);
    }

    fn publish(&mut self, number: u16, publish: &basic::Publish) -> Result<(), Refusal> {
        if publish.immediate {
            return Err(Refusal::new(540, "immediate=true"));
        }
        let exchange = publish.exchange.as_str();
        if !self.house().declared().has_exchange(exchange) {
            let why = format!("no exchange '{exchange}'");
            return Err(Refusal::new(404, why));
        }
        if let Some(lane) = self.lane(number) {
            lane.announce(publish);
        }
        Ok(())
    }

    fn answer(&mut self, number: u16, method: Method, nowait: bool) {
        if !nowait {
            self.send(Frame::Method(number, method));
        }
    }
}
