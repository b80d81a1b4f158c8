import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["region"] ?? ""} />;
}

export const region: PageOf = { path: "region", nav: null, title: () => "Region", Page };
