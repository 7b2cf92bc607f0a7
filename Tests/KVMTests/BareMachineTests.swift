import BuiltInGuest
import GuestSupport
import KVM
import Testing

let hasKVM = (try? KVMSystem()) != nil

/// Parameters of a guest that reports five times a second.
func lively(_ change: (inout BuiltInGuestParameters) -> Void = { _ in }) -> BuiltInGuestParameters {
    var parameters = BuiltInGuestParameters()
    parameters.regionMebibytes = 16
    parameters.checkRate = .mebibytesPerSecond(400)
    parameters.period = 200
    change(&parameters)
    return parameters
}

/// Everything that runs guests, one after the other: they are busy, and a test host has few CPUs.
@Suite("KVM", .enabled(if: hasKVM, "/dev/kvm cannot be opened"), .serialized) enum KVMTests {}

extension KVMTests {
    @Suite("Built-in guest on KVM") struct BareMachineTests {
        @Test(arguments: [1, 2]) func `runs clean to its end, timers ticking`(cpuCount: Int) throws {
            var configuration = BareMachine.Configuration()
            configuration.cpuCount = cpuCount
            let machine = try BareMachine(configuration)
            try machine.boot(
                lively {
                    $0.cpuCount = cpuCount
                    $0.seconds = 3
                })
            try machine.resume()
            let end = machine.lines.waitForEnd()
            let report = try #require(end, "\(machine.lines.all) \(String(describing: machine.ending))")
            #expect(report.isClean)
            #expect(report.dirtiedPageCount > 100 && report.checkedPageCount > 1000)
            #expect(report.timerTickCount > 100 && report.apicTickCount > 50 * cpuCount)
            _ = machine.lines.wait(for: .seconds(10)) { _ in machine.ending }
            #expect(machine.ending == .reset)
        }

        @Test func `memory corrupted from outside is found, named, and counted once`() throws {
            let machine = try BareMachine(.init())
            // Only the first MiB is dirtied: what is spoiled behind it stays so until it is checked.
            try machine.boot(lively { $0.pattern = .hot(mebibytes: 1) })
            try machine.resume()
            let start = try #require(machine.lines.waitForStart())
            #expect(machine.lines.waitForReport()?.isClean == true)
            machine.pause()
            let spoiled = Int(start.regionAddress) + 3000 * 4096 + 17 * 8
            let right = machine.memory.bytes.loadUnaligned(fromByteOffset: spoiled, as: UInt64.self)
            machine.memory.bytes.storeBytes(of: right ^ 0x100, toByteOffset: spoiled, as: UInt64.self)
            try machine.resume()
            let wrong = machine.lines.waitForLine { if case .wrong(let wrong) = $0 { wrong } else { nil } }
            #expect(wrong == .init(page: 3000, word: 17, expected: right, found: right ^ 0x100))
            let seen = try #require(machine.lines.waitForReport { $0.badPageCount > 0 })
            // Once more through all pages: it was repaired.
            let later = machine.lines.waitForReport { $0.checkedPageCount > seen.checkedPageCount + 4096 }
            machine.stop()
            #expect(later?.badPageCount == 1)
        }

        @Test func `a page that loses a write is found`() throws {
            let machine = try BareMachine(.init())
            try machine.boot(lively { $0.dirtyRate = .mebibytesPerSecond(100) })
            try machine.resume()
            let start = try #require(machine.lines.waitForStart())
            machine.pause()
            let region = Int(start.regionAddress)
            let copy = Array(machine.memory.bytes[region..<(region + 4096 * start.pageCount)])
            try machine.resume()
            // Every page is written twice and more.
            _ = machine.lines.waitForReport { $0.dirtiedPageCount > 2 * 4096 }
            machine.pause()
            // Behind the page that is written next, so that it is checked long before it is written again.
            let next = machine.memory.bytes.loadUnaligned(fromByteOffset: 0x21_0000 + 88, as: Int.self)
            let lost = (next + start.pageCount - 50) % start.pageCount * 4096
            let old = copy[lost..<(lost + 4096)]
            let page = (region + lost)..<(region + lost + 4096)
            #expect(!machine.memory.bytes[page].elementsEqual(old))
            machine.memory.bytes[page].copyBytes(from: old)
            try machine.resume()
            let report = machine.lines.waitForReport { $0.badPageCount > 0 }
            machine.stop()
            #expect(report?.badPageCount == 1)
        }

        @Test func `a wrong parameter is said, not obeyed`() throws {
            let machine = try BareMachine(.init())
            try machine.boot(commandLine: "region=4000")
            try machine.resume()
            let failure = machine.lines.waitForLine { if case .failure(let text) = $0 { text } else { nil } }
            machine.stop()
            #expect(failure == "error the region does not fit into memory")
        }
    }
}
