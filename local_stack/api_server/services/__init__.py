"""KFP's rules, one function per endpoint; each runs inside one transaction and returns wire data."""
