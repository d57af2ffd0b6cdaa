//! What every environment keeps to. From PettingZoo's `parallel_api_test` and `seed_test`, and
//! ours.

use crate::agent::base::{AgentSpec, Environment, Transition};
use crate::agent::lanes::Lanes;
use crate::agent::list::{environment, environments};
use crate::agent::numpy::NumpyGenerator;
use crate::agent::toy::Marks;
use crate::error::Result;

type MakeWorld = Box<dyn Fn() -> Box<dyn Environment> + Sync>;

/// Every environment, the toy included.
fn all() -> Vec<(String, MakeWorld)> {
    let mut out: Vec<(String, MakeWorld)> = Vec::new();
    for name in environments() {
        let (own, new) = (name.clone(), format!("{name}:new"));
        if name.starts_with("overcooked") {
            let id = new.clone();
            out.push((new, Box::new(move || environment(&id).unwrap())));
        }
        out.push((name, Box::new(move || environment(&own).unwrap())));
    }
    out.push(("toy".into(), Box::new(|| Box::new(Marks::new(0)))));
    out
}

fn joint(spec: &AgentSpec, draws: &mut NumpyGenerator) -> Vec<usize> {
    let action = |_| draws.integers(0, spec.actions.len() as u32) as usize;
    (0..spec.agents).map(action).collect()
}

fn views(world: &dyn Environment) -> Vec<u8> {
    let (n, size) = (world.spec().agents, world.spec().size());
    let mut out = vec![0; n * size];
    for (agent, view) in out.chunks_exact_mut(size).enumerate() {
        world.observe(agent, view);
    }
    out
}

/// What a step shows: views, rewards, flags.
fn shown(world: &dyn Environment, step: &Transition) -> (Vec<u8>, Vec<u64>, bool) {
    let rewards = step.rewards.iter().chain(&step.shaped);
    let bits = rewards.map(|r| r.to_bits()).collect();
    (views(world), bits, step.over())
}

#[test]
fn two_with_one_seed_agree_and_a_loaded_one_goes_on() {
    for (name, make) in all() {
        let (mut a, mut b, mut c) = (make(), make(), make());
        let mut draws = NumpyGenerator::new(3);
        a.reset(Some(5));
        b.reset(Some(5));
        for t in 0..1000 {
            assert_eq!(views(a.as_ref()), views(b.as_ref()), "{name} {t}");
            if t % 100 == 37 {
                c.load(&a.save()).unwrap();
                b = std::mem::replace(&mut c, make());
            }
            let actions = joint(a.spec(), &mut draws);
            let steps = [a.step(&actions).unwrap(), b.step(&actions).unwrap()];
            let [x, y] = [shown(a.as_ref(), &steps[0]), shown(b.as_ref(), &steps[1])];
            assert_eq!(x, y, "{name} {t}");
            if x.2 {
                a.reset(None);
                b.reset(None);
            }
        }
    }
}

#[test]
fn views_are_as_declared() {
    for (name, make) in all() {
        let mut world = make();
        world.reset(Some(1));
        let spec = world.spec().clone();
        let [c, h, w] = spec.view;
        assert_eq!(
            (spec.planes.len(), spec.noop < spec.actions.len()),
            (c, true),
            "{name}"
        );
        let mut draws = NumpyGenerator::new(8);
        loop {
            let seen = views(world.as_ref());
            assert_eq!(
                seen,
                views(world.as_ref()),
                "{name}: observing changes nothing"
            );
            for view in seen.chunks_exact(spec.size()) {
                assert!(view.iter().any(|v| *v > 0), "{name}: all zero");
            }
            let scaled = spec.scaled(&seen);
            assert_eq!(scaled.shape(), [spec.agents, c, h, w], "{name}");
            assert!(
                scaled.to_f32().iter().all(|v| (0.0..=1.0).contains(v)),
                "{name}"
            );
            let step = world.step(&joint(&spec, &mut draws)).unwrap();
            assert_eq!(
                (step.rewards.len(), step.shaped.len()),
                (spec.agents, spec.agents)
            );
            assert!(step.rewards.iter().all(|r| r.is_finite()), "{name}");
            if step.over() {
                break;
            }
        }
    }
}

/// Agents that see one cell of the world see the same counts of shared things there.
#[test]
fn views_of_one_cell_agree() {
    for (name, make) in all() {
        let mut world = make();
        world.reset(Some(2));
        let spec = world.spec().clone();
        let [_, h, w] = spec.view;
        let mut draws = NumpyGenerator::new(4);
        for _ in 0..50 {
            let seen = views(world.as_ref());
            for cell in (0..h * w).map(|i| [i / w, i % w]) {
                for agent in 0..spec.agents {
                    let placed = world.placement(agent, cell);
                    let inside = |[r, c]: [usize; 2]| r < spec.world[0] && c < spec.world[1];
                    assert!(placed.is_none_or(inside), "{name}");
                }
            }
            // Both see the whole kitchen: planes that are nobody's own are equal.
            if name.starts_with("overcooked") {
                let (a, b) = seen.split_at(spec.size());
                assert_eq!(a[10 * h * w..], b[10 * h * w..], "{name}");
                assert_eq!(
                    a[..h * w],
                    b[h * w..2 * h * w],
                    "{name}: mine is the other's partner"
                );
                assert_eq!(a[2 * h * w..6 * h * w], b[6 * h * w..10 * h * w], "{name}");
            }
            if world.step(&joint(&spec, &mut draws)).unwrap().over() {
                world.reset(None);
            }
        }
    }
}

#[test]
fn misuse_is_an_error() {
    for (name, make) in all() {
        let mut world = make();
        world.reset(Some(0));
        let spec = world.spec().clone();
        let (n, k) = (spec.agents, spec.actions.len());
        assert!(world.step(&vec![0; n + 1]).is_err(), "{name}");
        assert!(world.step(&[]).is_err(), "{name}");
        assert!(world.step(&vec![k; n]).is_err(), "{name}");
        assert!(world.load(b"nothing of ours").is_err(), "{name}");
        while !world.step(&vec![spec.noop; n]).unwrap().over() {}
        let error = world.step(&vec![spec.noop; n]).unwrap_err().to_string();
        assert!(error.contains("over"), "{name}: {error}");
        world.reset(None);
        assert!(world.step(&vec![spec.noop; n]).is_ok(), "{name}");
    }
    let error = environment("chess").err().unwrap().to_string();
    assert!(
        error.contains("cramped_room") && error.contains("chess"),
        "{error}"
    );
    assert!(environment("overcooked:nowhere").is_err());
}

/// Lanes on one thread and on two give what single environments give.
#[test]
fn lanes_are_single_environments() {
    for (name, make) in all() {
        let made = || -> Result<Box<dyn Environment>> { Ok(make()) };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let mut lanes = Lanes::new(&made, 40).unwrap();
                (0..40).for_each(|lane| lanes.reset(lane, Some(lane as u64)));
                let spec = lanes.spec().clone();
                let mut draws = NumpyGenerator::new(11);
                // Every third lane stands still.
                let chosen: Vec<usize> = (0..40).filter(|l| l % 3 > 0).collect();
                let mut out = Vec::new();
                for _ in 0..5 {
                    let actions: Vec<usize> = chosen
                        .iter()
                        .flat_map(|_| joint(&spec, &mut draws))
                        .collect();
                    let steps = lanes.step(&chosen, &actions).unwrap();
                    out.push((lanes.observe(&chosen), actions, steps));
                }
                (out, lanes.save())
            })
        };
        let (two, states) = run(2);
        let (one, same) = run(1);
        assert_eq!(states, same, "{name}");
        let mut single = make();
        single.reset(Some(1));
        let n = single.spec().agents;
        for ((a, joint, steps), (b, _, _)) in two.iter().zip(&one) {
            assert_eq!(a, b, "{name}");
            let step = single.step(&joint[..n]).unwrap();
            assert_eq!(
                a[..n * single.spec().size()],
                views(single.as_ref()),
                "{name}"
            );
            assert_eq!(step.rewards, steps[0].rewards, "{name}");
        }
        let mut lanes = Lanes::new(&made, 2).unwrap();
        assert!(lanes.step(&[1, 0], &vec![0; 2 * n]).is_err(), "{name}");
        assert!(
            lanes.step(&[0], &[]).is_err() && lanes.load(&[]).is_err(),
            "{name}"
        );
        assert!(Lanes::new(&made, 0).is_err(), "{name}");
    }
}
