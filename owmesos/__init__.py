"""owmesos: OpenWhisk containers, and any other launch, on a Mesos cluster that is never over-provisioned."""
