"""Pure logic over data: scope paths and input resolution. No network, no clock, no globals."""
