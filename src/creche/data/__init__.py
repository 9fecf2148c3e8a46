"""The data: sources, readers, conversion under the contract, quarantine and split."""
