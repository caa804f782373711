"""A model shared over machines that are not there: each in a network namespace, on a shaped link, at its own pace."""
