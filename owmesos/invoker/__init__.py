"""The process that is an invoker, on top of a framework; what OpenWhisk's messages mean is in `openwhisk`."""
