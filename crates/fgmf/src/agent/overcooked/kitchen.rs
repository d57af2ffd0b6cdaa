//! Kitchens: layouts, orders, what a soup is worth and how long it cooks.
//!
//! Layouts and rules are those of the package `overcooked` 0.2.1 (MIT), a maintained fork of
//! HumanCompatibleAI/overcooked_ai (Carroll et al. 2019).

/// Onions and tomatoes of a soup.
pub(super) type Mix = [u8; 2];

/// A layout with its recipes.
#[derive(Debug)]
pub(super) struct Kitchen {
    pub(super) name: &'static str,
    /// Rows: space floor, X counter, O onions, T tomatoes, D dishes, P pot, S serving, 1 and 2
    /// where the players start.
    pub(super) rows: &'static [&'static str],
    pub(super) orders: &'static [Mix],
    /// Orders that pay twice.
    pub(super) bonus: &'static [Mix],
    /// What each order pays.
    order_values: &'static [u32],
    /// Steps that each order cooks.
    order_times: &'static [u32],
    /// What an onion and a tomato pay.
    values: Option<[u32; 2]>,
    /// Steps that an onion and a tomato cook.
    times: Option<[u32; 2]>,
}

/// What a soup pays, and how long it cooks, where nothing else is said.
const USUAL: u32 = 20;

const ONIONS: Kitchen = Kitchen {
    name: "",
    rows: &[],
    orders: &[[3, 0]],
    bonus: &[],
    order_values: &[],
    order_times: &[],
    values: None,
    times: None,
};

/// All layouts.
pub(super) static KITCHENS: [Kitchen; 7] = [
    Kitchen {
        name: "cramped_room",
        rows: &["XXPXX", "O  2O", "X1  X", "XDXSX"],
        ..ONIONS
    },
    Kitchen {
        name: "asymmetric_advantages",
        rows: &[
            "XXXXXXXXX",
            "O XSXOX S",
            "X   P 1 X",
            "X2  P   X",
            "XXXDXDXXX",
        ],
        ..ONIONS
    },
    Kitchen {
        name: "coordination_ring",
        rows: &["XXXPX", "X 1 P", "D2X X", "O   X", "XOSXX"],
        ..ONIONS
    },
    Kitchen {
        name: "forced_coordination",
        rows: &["XXXPX", "O X1P", "O2X X", "D X X", "XXXSX"],
        ..ONIONS
    },
    Kitchen {
        name: "counter_circuit_o_1order",
        rows: &["XXXPPXXX", "X  2   X", "D XXXX S", "X  1   X", "XXXOOXXX"],
        ..ONIONS
    },
    Kitchen {
        name: "counter_circuit",
        rows: &[
            "XXXPDPXXX",
            "X   2   X",
            "X XXXXX X",
            "X   1   X",
            "XXXOSTXXX",
        ],
        orders: &[[1, 2], [2, 1], [1, 1]],
        bonus: &[[1, 1]],
        values: Some([21, 13]),
        times: Some([15, 7]),
        ..ONIONS
    },
    Kitchen {
        name: "bonus_order_test",
        rows: &["XXPXX", "O  2T", "X1  X", "XDXSX"],
        orders: &[[3, 0], [0, 3], [1, 1]],
        bonus: &[[1, 1], [0, 3]],
        order_values: &[10, 20, 15],
        order_times: &[20, 15, 10],
        ..ONIONS
    },
];

impl Kitchen {
    fn of_order(&self, mix: Mix, given: &[u32], each: Option<[u32; 2]>) -> u32 {
        let order = self.orders.iter().position(|&o| o == mix);
        let listed = order.and_then(|i| given.get(i).copied());
        let summed = || each.map(|[o, t]| o * u32::from(mix[0]) + t * u32::from(mix[1]));
        listed.or_else(summed).unwrap_or(USUAL)
    }

    /// What a delivered soup pays: nothing unless it was ordered, twice for a bonus.
    pub(super) fn value(&self, mix: Mix) -> u32 {
        if !self.orders.contains(&mix) {
            return 0;
        }
        let once = self.of_order(mix, self.order_values, self.values);
        once * if self.bonus.contains(&mix) { 2 } else { 1 }
    }

    /// Steps that a soup cooks.
    pub(super) fn time(&self, mix: Mix) -> u32 {
        self.of_order(mix, self.order_times, self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kitchen(name: &str) -> &'static Kitchen {
        KITCHENS.iter().find(|k| k.name == name).unwrap()
    }

    #[test]
    fn soups_pay_what_their_order_says() {
        let room = kitchen("cramped_room");
        assert_eq!(
            (room.value([3, 0]), room.value([2, 0]), room.time([2, 0])),
            (20, 0, 20)
        );
        let circuit = kitchen("counter_circuit");
        // 21 + 2·13, and twice 21 + 13 for the bonus.
        assert_eq!((circuit.value([1, 2]), circuit.value([1, 1])), (47, 68));
        assert_eq!(circuit.time([2, 1]), 2 * 15 + 7);
        let bonus = kitchen("bonus_order_test");
        let values = [[3, 0], [0, 3], [1, 1]].map(|m| bonus.value(m));
        assert_eq!(values, [10, 40, 30]);
        assert_eq!(
            [[3, 0], [0, 3], [1, 1]].map(|m| bonus.time(m)),
            [20, 15, 10]
        );
    }

    #[test]
    fn every_kitchen_is_closed_and_has_two_players() {
        for k in &KITCHENS {
            let width = k.rows[0].len();
            assert!(k.rows.iter().all(|r| r.len() == width), "{}", k.name);
            for player in ["1", "2"] {
                assert_eq!(k.rows.concat().matches(player).count(), 1, "{}", k.name);
            }
            let open = |c: u8| b" 12".contains(&c);
            let edge = |r: &&str| open(r.as_bytes()[0]) || open(r.as_bytes()[width - 1]);
            assert!(!k.rows.iter().any(edge), "{}", k.name);
            let ends = [k.rows[0], k.rows[k.rows.len() - 1]].concat();
            assert!(!ends.bytes().any(open), "{}", k.name);
        }
    }
}
