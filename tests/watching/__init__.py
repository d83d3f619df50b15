"""What is measured, and where it goes: Prometheus, OpenTelemetry, a dashboard, alerts."""
