//! Turns a cell of the space into the program that the kernels run. Must not know how they do it.

use crate::kernels::{self, CellProgram};
use crate::space::{Activation, Cell, CellNode, Combination, ReferenceCell, TreeError};

/// The program of this cell.
///
/// # Errors
/// Why it is no cell. A space's own never fail here; one that was written by hand may.
pub fn cell_program(cell: &Cell) -> Result<CellProgram, TreeError> {
    match cell {
        Cell::Reference {
            reference: ReferenceCell::Rnn,
        } => Ok(CellProgram::rnn()),
        Cell::Reference {
            reference: ReferenceCell::Lstm,
        } => Ok(CellProgram::lstm()),
        Cell::Reference {
            reference: ReferenceCell::Gru,
        } => Ok(CellProgram::gru()),
        Cell::Tree(tree) => {
            tree.check()?;
            let nodes: Vec<_> = tree.nodes.iter().map(node).collect();
            Ok(CellProgram::tree(
                &nodes,
                node(&tree.inject),
                tree.cell_index,
                tree.inject_index,
            ))
        }
    }
}

fn node(node: &CellNode) -> (kernels::Combination, kernels::Activation) {
    let combination = match node.combination {
        Combination::Add => kernels::Combination::Add,
        Combination::ElemMult => kernels::Combination::Mul,
        Combination::Max => kernels::Combination::Max,
    };
    let activation = match node.activation {
        Activation::Identity => kernels::Activation::Identity,
        Activation::Tanh => kernels::Activation::Tanh,
        Activation::Sigmoid => kernels::Activation::Sigmoid,
        Activation::Relu => kernels::Activation::Relu,
        Activation::Sin => kernels::Activation::Sin,
    };
    (combination, activation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_cell_is_the_kernels_own() {
        assert_eq!(Cell::NAMES, crate::kernels::NAMED_CELLS);
        for name in Cell::NAMES {
            let cell = Cell::named(name).unwrap();
            let program = cell_program(&cell).unwrap();
            assert_eq!(Some(&program), CellProgram::named(name).as_ref());
            let biases = program.gates
                * (usize::from(program.input_bias) + usize::from(program.recurrent_bias));
            assert_eq!((cell.gates(), cell.biases()), (program.gates, biases));
        }
    }
}
