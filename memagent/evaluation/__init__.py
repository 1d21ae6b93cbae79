"""Judging an agent: play contexts and streams (protocol), score them (metrics, intervals), show them (figures, report).

Takes callables and records; knows neither the environments nor the agents.
"""
