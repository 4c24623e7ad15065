# Reads the Vagrantfile that is named on the command line, and prints what it asks of Vagrant for each machine, as JSON.

require "json"

# Takes every setting, and keeps it under its name; of a method with arguments these, too.
class Settings
  attr_reader :found

  def initialize
    @found = {}
  end

  def method_missing(name, *arguments, **options, &block)
    return @found[name.to_s.chomp("=")] = arguments.first if name.end_with?("=")
    return @found[name.to_s] ||= Settings.new if arguments.empty?

    given = Settings.new
    block&.call(given)
    (@found[name.to_s] ||= []) << [*arguments, options, given]
  end

  def respond_to_missing?(*) = true

  def to_json(*options) = @found.to_json(*options)
end

module Vagrant
  def self.configure(version)
    settings = Settings.new
    yield settings
    puts JSON.generate({ version: version, settings: settings })
  end
end

load ARGV.fetch(0)
